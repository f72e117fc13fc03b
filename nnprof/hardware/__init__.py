"""What devices can do: one data file each, found by name or by asking the device that is here."""

from nnprof.hardware.detect import calibration_path, for_device, identity
from nnprof.hardware.find import find
from nnprof.hardware.resolve import names
from nnprof.hardware.spec import Hardware, load
from nnprof.hardware.stored import forget, stored

__all__ = [
    "Hardware",
    "calibration_path",
    "find",
    "for_device",
    "forget",
    "identity",
    "load",
    "names",
    "stored",
]
