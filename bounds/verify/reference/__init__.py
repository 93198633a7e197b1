"""A second checker of certificates, written from docs/certificates.md: rational arithmetic, small and slow.

It shares the statement of the problem and the file reader with the first one, and no other code.
"""

from .certificate import check_certificate
from .row import NotEstablished, reference_bound

__all__ = ["NotEstablished", "check_certificate", "reference_bound"]
