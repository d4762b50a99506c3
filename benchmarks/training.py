"""`train run` against plain TRL on the same pre-tokenised rows: seconds per step and peak memory.

    python benchmarks/training.py [--rounds 3] [--steps 4] [--precision bfloat16] [--check]

Every run is a process of its own, the two take turns. All rows have one length, so that our order of rows by length
gains nothing here. The bar: within 5 % of plain TRL in both.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

BAR = 1.05
BATCH, MICRO_BATCH, LENGTH, N_ROWS = 4, 4, 256, 64


def rows(tokenizer: Any) -> dict[str, list[list[int]]]:
    """64 rows of 256 tokens, loss on the second half."""
    text = "The product of two numbers can be found by adding one of them again and again. "
    made = [tokenizer(f"{i}. " + text * 40)["input_ids"][:LENGTH] for i in range(N_ROWS)]
    return {"input_ids": made, "labels": [[-100] * (LENGTH // 2) + ids[LENGTH // 2 :] for ids in made]}


def child(who: str, home: Path, n_steps: int, precision: str) -> dict[str, float]:
    """Train a few steps; seconds of each step but the first, and the process's peak memory."""
    from datasets import Dataset
    from transformers import AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    import train  # noqa: F401  sets the threads' waiting, for both alike
    from factory.engines.local_model import Weights, quiet
    from train.recipe import load_training_recipe
    from train.trainer import make_config, make_trainer

    class Clock(TrainerCallback):  # type: ignore[misc]  # the library ships no types
        def __init__(self) -> None:
            self.times: list[float] = []

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.times.append(time.monotonic())

    quiet()
    model = str(home / "models" / "SmolLM2-135M-Instruct")
    tokenizer, clock = AutoTokenizer.from_pretrained(model), Clock()
    data = Dataset.from_dict(rows(tokenizer))
    with tempfile.TemporaryDirectory() as folder:
        if who == "ours":
            recipe = load_training_recipe(
                "demo",
                [
                    f"optimizer.max_steps={n_steps}", f"optimizer.global_batch={BATCH}", "output.save_every_steps=1000",
                    f"memory.micro_batch={MICRO_BATCH}", f"optimizer.precision={precision}",
                ],
            )  # fmt: skip
            arguments = make_config(recipe, Path(folder))
            trainer: Any = make_trainer(arguments, Weights(model, "m@1"), tokenizer, data.data.table, recipe)
        else:
            arguments = SFTConfig(
                folder, max_steps=n_steps, per_device_train_batch_size=MICRO_BATCH, bf16=precision == "bfloat16",
                gradient_accumulation_steps=BATCH // MICRO_BATCH, gradient_checkpointing=False, max_length=None,
                save_strategy="no", report_to="none", use_cpu=True, learning_rate=3e-5, disable_tqdm=True,
                lr_scheduler_type="cosine", warmup_steps=0.03,
            )  # fmt: skip
            trainer = SFTTrainer(model, args=arguments, train_dataset=data, processing_class=tokenizer)
        arguments.save_strategy = "no"  # writing checkpoints is not what is compared
        trainer.add_callback(clock)
        trainer.train()
    laps = [b - a for a, b in zip(clock.times, clock.times[1:], strict=False)]
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"step_s": statistics.median(laps), "peak_mb": peak_mb}


def measure(rounds: int, n_steps: int, precision: str) -> dict[str, list[dict[str, float]]]:
    """Both, taking turns; who comes first changes each round."""
    from factory.engines.local_model import find_weights
    from factory.settings import default_home
    from schemas.recipe import EngineSettings

    home = default_home()
    find_weights(EngineSettings(), home)
    found: dict[str, list[dict[str, float]]] = {"plain": [], "ours": []}
    for turn in range(rounds):
        for who in ("plain", "ours") if turn % 2 == 0 else ("ours", "plain"):
            line = [
                sys.executable, __file__, "--child", who, "--home", str(home), "--steps", str(n_steps),
                "--precision", precision,
            ]  # fmt: skip
            environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
            done = subprocess.run(line, capture_output=True, text=True, check=False, env=environment)
            if done.returncode:
                sys.exit(f"{who} failed:\n{done.stderr[-3000:]}")
            found[who].append(json.loads(done.stdout.splitlines()[-1]))
    return found


def main() -> int:
    """Print a table; with --check, exit non-zero where a bar is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--precision", default="bfloat16", choices=("bfloat16", "float32"))
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--child", choices=("plain", "ours"), help=argparse.SUPPRESS)
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child(options.child, options.home, options.steps, options.precision)))
        return 0
    found = measure(options.rounds, options.steps, options.precision)
    print(
        f"{'':<8} {'s/step':>8} {'tokens/s':>9} {'peak MB':>9}   {BATCH} rows of {LENGTH} tokens, {options.precision}"
    )
    middle = {who: {k: statistics.median(run[k] for run in runs) for k in runs[0]} for who, runs in found.items()}
    for who, values in middle.items():
        rate = BATCH * LENGTH / values["step_s"]
        print(f"{who:<8} {values['step_s']:>8.2f} {rate:>9.0f} {values['peak_mb']:>9.0f}")
    ratios = {
        key: statistics.median(a[key] / b[key] for a, b in zip(found["ours"], found["plain"], strict=True))
        for key in ("step_s", "peak_mb")
    }
    print(f"median ratio of pairs: time {ratios['step_s']:.3f}, memory {ratios['peak_mb']:.3f} (bar {BAR})")
    return int(options.check and any(ratio > BAR for ratio in ratios.values()))


if __name__ == "__main__":
    sys.exit(main())
