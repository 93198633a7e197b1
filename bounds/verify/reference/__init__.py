"""A second checker of certificates, written from docs/certificate-format.md: rational arithmetic, small.

It shares the statement of the problem and the file reader with the first one, and no other code.
"""

from .certificate import check_certificate
from .limits import Limits, NotEstablished
from .row import reference_bound

__all__ = ["Limits", "NotEstablished", "check_certificate", "reference_bound"]
