"""The real forward of a model on a device: what the sums of replays and estimates are held against.

`nnprof.results.time_records.EndToEnd` is what comes out, `forward` the way there; `copies` and
`values` make the model and its inputs anew on the device, `process` puts the process back, `clock`
and `accelerator` take times.
"""

from __future__ import annotations

from nnprof.timing.end_to_end.forward import NO_SAMPLE, RealForward

__all__ = ["NO_SAMPLE", "RealForward"]
