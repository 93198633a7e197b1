"""Layer files out of a model, as `pvq extract` makes them."""

import pvq
from pvq.layers.extraction import Extraction


def extract(model, layer, calibration, out_dir, *, keep_activations=0, progress=None, say=None, **words):
    """The files."""
    asked = Extraction(model, layer, calibration, out_dir, **words)
    if say is not None and asked.batches.data.note is not None:
        say(asked.batches.data.note)
    words = {"keep_activations": keep_activations, "progress": progress, "say": say}
    return asked.save(pvq.extract(asked.module, asked.batches, layer, **words))
