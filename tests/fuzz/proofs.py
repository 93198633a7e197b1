"""Ask both checkers: `python tests/fuzz/proofs.py --proofs N --seed S`; exit 1 if one is wrong."""

import argparse

from two_checkers import count


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--proofs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    counts, wrong = count(range(asked.seed, asked.seed + asked.proofs))
    for (name, outcome), number in sorted(counts.items()):
        print(f"{number:8}  {name}: {outcome}")
    print(f"{len(wrong)} wrong of {asked.proofs}", *wrong, sep="\n")
    return bool(wrong)


if __name__ == "__main__":
    raise SystemExit(main())
