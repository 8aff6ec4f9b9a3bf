#!/usr/bin/env python3
"""Runs Diptych and its peers in turn on the same file and prints medians as a Markdown table. Fetches and builds nothing.

    compare.py text  --diptych D --llama-bench L model.gguf ...
    compare.py picture --diptych D --sd S --torch PYTHON --candle C --size 512x512 model.safetensors ...

Every round runs each program once, one after the other, so that a machine that slows down slows all of them. Needs only
Python's own library.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys


def command(args, env=None):
    """Standard output and error of a program that must succeed."""
    done = subprocess.run(args, capture_output=True, text=True, env={**os.environ, **(env or {})})
    if done.returncode != 0:
        sys.exit(f"{' '.join(args)}\n{done.stderr[-2000:]}\nended with {done.returncode}")
    return done.stdout, done.stderr


def load():
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")


def ours_text(options, model, device):
    args = [options.diptych, "bench", "--json", "--device", device, "--model", model, "--prompts", ",".join(options.prompts)]
    out, _ = command(args + (["--quick"] if options.quick else []))
    works = json.loads(out)["models"][0]["workloads"]
    return {work["name"]: work["per_second"] for work in works}


def llama_text(options, model, device):
    """Prefill of 128 and 512 tokens from an empty cache; 32 tokens written after 128."""
    flags = ["-ngl", "0"] if device == "cpu" else ["-ngl", "99"]
    # ggml leaves software Vulkan alone unless it is named.
    env = {"GGML_VK_VISIBLE_DEVICES": "0" if device == "gpu" else ""}
    base = [options.llama_bench, "-m", model, "-t", str(options.threads), "-r", "1", "-o", "json"] + flags
    speeds = {}
    prompts = [] if options.no_prefill else ["-p", ",".join(options.prompts), "-n", "0"]
    for extra in [prompts, ["-p", "0", "-n", str(options.written), "-d", "128"]]:
        if not extra:
            continue
        out, _ = command(base + extra, env)
        for row in json.loads(out):
            name = f"prefill {row['n_prompt']}" if row["n_prompt"] else "decode"
            speeds[name] = row["avg_ts"]
    return speeds


def ours_picture(options, model, device):
    args = [options.diptych, "bench", "--json", "--device", device, "--model", model, "--size", options.size]
    out, _ = command(args + (["--quick"] if options.quick else []))
    works = json.loads(out)["models"][0]["workloads"]
    # Both programs evaluate the U-Net twice a step, with and without the prompt.
    return {work["name"].split()[0]: work["seconds"] for work in works}


def sd_picture(options, model, device):
    width, height = options.size.split("x")
    env = {"GGML_VK_VISIBLE_DEVICES": "0" if device == "gpu" else ""}
    out, err = command([options.sd, "-m", model, "-p", "a red fox", "-n", "blurry", "--steps", "3", "-W", width, "-H", height,
                        "-t", str(options.threads), "-o", os.devnull + ".png" if os.name == "nt" else "/tmp/compare.png", "-v"], env)
    text = out + err
    steps = [float(number) for number in re.findall(r"([0-9.]+)s/it", text)]
    steps += [1 / float(number) for number in re.findall(r"([0-9.]+)it/s", text)]
    decoded = re.search(r"decode_first_stage completed, taking ([0-9.]+)s", text)
    times = {}
    if steps:
        times["step"] = steps[-1]
    if decoded:
        times["vae"] = float(decoded.group(1))
    return times


def torch_picture(options, model, device):
    """diffusers on torch by the interpreter that has them; see torch_picture.py. On the processor only."""
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "torch_picture.py")
    out, _ = command([options.torch, script, model, "--size", options.size, "--threads", str(options.threads), "--dtype", options.torch_dtype])
    return json.loads(out.splitlines()[-1])


def candle_text(options, model, device):
    """candle-transformers' Qwen 3 by the program of the folder `candle`. On the processor only, as the next."""
    out, _ = command([options.candle, "text", model, ",".join(options.prompts), str(options.written)],
                     {"RAYON_NUM_THREADS": str(options.threads)})
    return json.loads(out)


def candle_picture(options, model, device):
    """candle-transformers' Stable Diffusion 1.5, with random weights of its own, whatever the model's file holds."""
    out, _ = command([options.candle, "picture", options.size, options.candle_dtype], {"RAYON_NUM_THREADS": str(options.threads)})
    return json.loads(out)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["text", "picture"])
    parser.add_argument("models", nargs="+")
    parser.add_argument("--diptych", required=True, help="our program")
    parser.add_argument("--llama-bench", help="llama.cpp's llama-bench; for --device gpu one with Vulkan")
    parser.add_argument("--sd", help="stable-diffusion.cpp's sd-cli")
    parser.add_argument("--torch", help="a Python that has torch and diffusers")
    parser.add_argument("--torch-dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--candle", help="the program of the folder candle; Qwen 3, or Stable Diffusion 1.5")
    parser.add_argument("--candle-dtype", choices=["f32", "f16"], default="f32")
    parser.add_argument("--device", choices=["cpu", "gpu"], default="cpu")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--prompts", type=lambda text: text.split(","), default=["128", "512"])
    parser.add_argument("--no-prefill", action="store_true", help="of llama.cpp only writing")
    parser.add_argument("--written", type=int, default=32)
    parser.add_argument("--size", default="512x512")
    parser.add_argument("--quick", action="store_true", help="our program measures less in each round")
    options = parser.parse_args()

    text = options.what == "text"
    programs = [("Diptych", ours_text if text else ours_picture)]
    if text and options.llama_bench:
        programs.append(("llama.cpp", llama_text))
    if not text and options.sd:
        programs.append(("stable-diffusion.cpp", sd_picture))
    if not text and options.torch and options.device == "cpu":
        programs.append(("torch", torch_picture))
    if options.candle and options.device == "cpu":
        programs.append(("candle", candle_text if text else candle_picture))
    unit = "tokens/s" if text else "seconds"
    names = [name for name, _ in programs]
    print(f"| file | workload | {' | '.join(f'{name}, {unit}' for name in names)} | ratio | load |")
    print("|---|---|" + "---|" * (len(names) + 2))
    for model in options.models:
        seen = {name: {} for name in names}
        loads = []
        for _ in range(options.rounds):
            for name, run in programs:
                loads.append(load())
                for work, value in run(options, model, options.device).items():
                    seen[name].setdefault(work, []).append(value)
        for work in seen["Diptych"]:
            medians = [statistics.median(seen[name].get(work, [float("nan")])) for name in names]
            # Above 1 ours is faster; one for each peer.
            ratios = [medians[0] / other if text else other / medians[0] for other in medians[1:]]
            ratio = ", ".join(f"{ratio:.2f}" for ratio in ratios)
            cells = " | ".join(f"{median:.2f}" for median in medians)
            print(f"| {os.path.basename(model)} | {work} | {cells} | {ratio} | {statistics.median(loads):.1f} |", flush=True)


if __name__ == "__main__":
    main()
