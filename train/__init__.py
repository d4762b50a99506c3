"""From a snapshot to what a trainer needs, and to a model. Makes no data."""

import os

import factory.engines  # noqa: F401  sets how torch's threads wait, which must happen before torch loads

# TRL reports every training to the hub. Nobody asked for that, and what needs no network should use none.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
