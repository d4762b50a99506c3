"""Judging: final answers, verifiers in killable workers, decontamination, the gate. It judges; SQL selects."""
