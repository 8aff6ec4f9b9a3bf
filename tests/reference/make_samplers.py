"""Makes the fixtures of the sampler and noise tests (tests/reference/samplers).

The references are the programs themselves: the schedulers of `diffusers` and the samplers of `k-diffusion`, run on a
closed-form "model" that the Rust tests repeat. Only CompVis' DDIM sampler, which is no package, is written out below.

Needs: torch, numpy, diffusers, safetensors, k-diffusion (with --no-deps, plus scipy, torchdiffeq, torchsde, trampoline,
tqdm). Made with torch 2.15, diffusers 0.42.1, k-diffusion 0.1.1.post1.

    python tests/reference/make_samplers.py
"""

import importlib.util
import json
import math
import sys
import types
import warnings
from pathlib import Path

import diffusers
import numpy as np
import scipy.stats
import torch
from safetensors.torch import save_file

warnings.filterwarnings("ignore", module="torchsde")
OUT = Path(__file__).parent / "samplers"
SEED = 1234
SHAPE = (1, 4, 3, 3)
COUNT = math.prod(SHAPE)

SD = dict(
    num_train_timesteps=1000, beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012,
    steps_offset=1, set_alpha_to_one=False, clip_sample=False,
)
CONFIGS = {
    "sd_eps": dict(SD, prediction_type="epsilon"),
    "sd_v": dict(SD, prediction_type="v_prediction"),
    "linear": dict(
        num_train_timesteps=200, beta_schedule="linear", beta_start=0.0005, beta_end=0.08,
        set_alpha_to_one=True, clip_sample=False,
    ),
    "cosine_v": dict(
        num_train_timesteps=1000, beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction",
        timestep_spacing="trailing", clip_sample=False,
    ),
    "zero_snr_v": dict(
        SD, prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing",
    ),
    "trained": dict(
        num_train_timesteps=12, trained_betas=[0.002 + 0.02 * i for i in range(12)],
        timestep_spacing="leading", steps_offset=1, clip_sample=False,
    ),
}
SAMPLERS = ["euler", "euler_ancestral", "dpmpp_2m", "ddim", "heun"]
CLASSES = {
    "euler": diffusers.EulerDiscreteScheduler,
    "euler_ancestral": diffusers.EulerAncestralDiscreteScheduler,
    "dpmpp_2m": diffusers.DPMSolverMultistepScheduler,
    "ddim": diffusers.DDIMScheduler,
    "heun": diffusers.HeunDiscreteScheduler,
}
SPACINGS = ["leading", "linspace", "trailing"]


def load_k_diffusion():
    """Imports only `sampling`, `external` and `utils`: the package itself pulls in training code."""
    root = Path(importlib.util.find_spec("k_diffusion").origin).parent
    package = types.ModuleType("k_diffusion")
    package.__path__ = [str(root)]
    sys.modules["k_diffusion"] = package
    for name in ["torchvision", "torchvision.transforms", "torchvision.transforms.functional"]:
        sys.modules.setdefault(name, types.ModuleType(name))
    sys.modules["torchvision.transforms"].functional = sys.modules["torchvision.transforms.functional"]
    import k_diffusion.external
    import k_diffusion.sampling

    return k_diffusion.sampling, k_diffusion.external


sampling, external = load_k_diffusion()


def model(x, t):
    """The closed-form model: smooth in x, t and place; computed in f64, rounded to f32."""
    place = torch.arange(x.numel(), dtype=torch.float64).reshape(x.shape)
    t = float(t)
    out = 0.6 * math.cos(t / 400.0) * x.double() + 0.4 * torch.sin(0.7 * place + t / 150.0)
    return out.float()


def start():
    generator = torch.Generator().manual_seed(SEED)
    return torch.randn(SHAPE, generator=generator), generator


def scheduler_of(name, config, karras=False, spacing=None):
    kwargs = dict(config)
    if spacing is not None:
        kwargs["timestep_spacing"] = spacing
    if karras:
        kwargs["use_karras_sigmas"] = True
    # from_config, not the constructor: keys which a class does not know are dropped, as in real folders.
    return CLASSES[name].from_config(kwargs)


def run_diffusers(name, config, steps, karras, spacing):
    scheduler = scheduler_of(name, config, karras, spacing)
    noise, generator = start()
    scheduler.set_timesteps(steps)
    if len(set(scheduler.timesteps[:2].tolist())) < min(steps, 2):
        # DPM++ Karras rounds timesteps; where the first two collide, step() would look itself up at the second.
        scheduler.set_begin_index(0)
    latents = noise * scheduler.init_noise_sigma
    extra = {"generator": generator} if name == "euler_ancestral" else {}
    dumps = []
    for i, t in enumerate(scheduler.timesteps):
        out = model(scheduler.scale_model_input(latents, t), t)
        latents = scheduler.step(out, t, latents, **extra).prev_sample
        # Heun alternates: t0, t1 t1, t2 t2, ...; an outer step ends with its second evaluation, the last with its first.
        if name != "heun" or i % 2 == 1 or i == len(scheduler.timesteps) - 1:
            dumps.append(latents.clone())
    assert len(dumps) == steps, (name, config, steps, spacing, len(dumps))
    return torch.cat(dumps)


class KModel:
    def __init__(self, alphas_cumprod):
        self.alphas_cumprod = alphas_cumprod

    def apply_model(self, x, t, cond=None):
        return model(x, t)


def alphas_of(config):
    scheduler = scheduler_of("ddim", config)
    alphas = scheduler.alphas_cumprod.clone()
    if config.get("rescale_betas_zero_snr"):
        alphas[-1] = 4.8973451890853435e-08  # what A1111 and ComfyUI put in place of zero
    return alphas


def spaced(config, steps, spacing):
    total = config["num_train_timesteps"]
    if spacing == "leading":
        return np.arange(steps)[::-1] * (total // steps) + config.get("steps_offset", 0)
    if spacing == "trailing":
        return np.arange(total, 0, -total / steps).round()[:steps] - 1
    return np.linspace(total - 1, 0, steps)


def run_kdiffusion(name, config, steps, karras, spacing):
    alphas = alphas_of(config)
    noise, generator = start()
    is_v = config.get("prediction_type") == "v_prediction"
    if name == "ddim":
        return run_compvis_ddim(config, alphas, noise, steps, spacing or "leading", is_v)
    inner = KModel(alphas)
    wrapped = (external.CompVisVDenoiser if is_v else external.CompVisDenoiser)(inner, quantize=False)
    if karras:
        sigmas = sampling.get_sigmas_karras(steps, wrapped.sigma_min, wrapped.sigma_max)
    elif spacing in (None, "linspace"):
        sigmas = wrapped.get_sigmas(steps)
    else:
        top = config["num_train_timesteps"] - 1
        t = torch.tensor(np.clip(spaced(config, steps, spacing), 0, top).copy(), dtype=torch.float32)
        sigmas = sampling.append_zero(wrapped.t_to_sigma(t))
    function = getattr(sampling, f"sample_{name}")
    extra = {"extra_args": {"cond": None}} if is_v else {}
    if name == "euler_ancestral":
        extra["noise_sampler"] = lambda a, b: torch.randn(SHAPE, generator=generator)
    seen = []
    final = function(
        wrapped, noise * sigmas[0], sigmas, disable=True, callback=lambda d: seen.append(d["x"].clone()), **extra
    )
    return torch.cat(seen[1:] + [final])


def run_compvis_ddim(config, alphas, noise, steps, spacing, is_v):
    """CompVis' DDIMSampler at eta 0 (Song et al. 2021, eq. 12): timesteps ascending, uniform ones with + 1, and the
    last step goes to the alpha of timestep 0."""
    top = config["num_train_timesteps"] - 1
    if spacing == "leading":
        times = np.arange(steps) * (config["num_train_timesteps"] // steps) + 1
    else:
        times = np.asarray(spaced(config, steps, spacing)).round()[::-1]
    times = np.clip(times, 0, top).astype(int)
    previous = [alphas[0]] + [alphas[t] for t in times[:-1]]
    x, dumps = noise, []
    for t, a_prev in reversed(list(zip(times, previous))):
        a = alphas[t]
        out = model(x, t)
        if is_v:
            eps = a.sqrt() * out + (1 - a).sqrt() * x
            x0 = a.sqrt() * x - (1 - a).sqrt() * out
        else:
            eps, x0 = out, (x - (1 - a).sqrt() * out) / a.sqrt()
        x = a_prev.sqrt() * x0 + (1 - a_prev).sqrt() * eps
        dumps.append(x.clone())
    return torch.cat(dumps)


def has_karras(sampler, convention):
    """diffusers' DDIM and Euler a have no use_karras_sigmas; k-diffusion's way of DDIM has timesteps, not sigmas."""
    return sampler != "ddim" and (convention, sampler) != ("diffusers", "euler_ancestral")


def cases():
    for config in ["sd_eps", "sd_v"]:
        for convention in ["kdiffusion", "diffusers"]:
            for sampler in SAMPLERS:
                for steps in [1, 5, 10]:
                    for spacing in SPACINGS:
                        yield config, convention, sampler, "normal", spacing, steps
                    if has_karras(sampler, convention):
                        for spacing in ["none"] if convention == "kdiffusion" else SPACINGS:
                            yield config, convention, sampler, "karras", spacing, steps
    for config in ["linear", "cosine_v", "zero_snr_v", "trained"]:
        for convention in ["kdiffusion", "diffusers"]:
            for sampler in SAMPLERS:
                if config == "zero_snr_v" and sampler == "heun" and convention == "diffusers":
                    continue  # HeunDiscreteScheduler does not know the option
                for schedule in ["normal", "karras"] if has_karras(sampler, convention) else ["normal"]:
                    yield config, convention, sampler, schedule, "none", 7


def make_samplers():
    tensors = {}
    for case in cases():
        config, convention, sampler, schedule, spacing, steps = case
        run = run_diffusers if convention == "diffusers" else run_kdiffusion
        dumps = run(sampler, CONFIGS[config], steps, schedule == "karras", None if spacing == "none" else spacing)
        dumps = dumps.reshape(steps, COUNT)
        assert torch.isfinite(dumps).all(), case
        tensors["/".join(map(str, case))] = dumps.contiguous()
    for name, config in CONFIGS.items():
        total = config["num_train_timesteps"]
        alphas = scheduler_of("ddim", config).alphas_cumprod
        tensors[f"alphas/{name}"] = alphas[:: max(1, total // 20)].contiguous()
    save_file(tensors, OUT / "steps.safetensors")
    (OUT / "configs.json").write_text(json.dumps(CONFIGS, indent=1) + "\n")
    print(len(tensors), "tensors")


NEW_KDIFFUSION = [
    "dpm_2", "dpm_2_ancestral", "dpmpp_2s_ancestral", "dpmpp_sde", "dpmpp_2m_sde", "dpmpp_3m_sde", "lms", "uni_pc", "lcm",
]
NEW_CLASSES = {
    "lms": diffusers.LMSDiscreteScheduler,
    "uni_pc": diffusers.UniPCMultistepScheduler,
    "lcm": diffusers.LCMScheduler,
    "dpmpp_2m_sde": diffusers.DPMSolverMultistepScheduler,
}
SCHEDULES = ["normal", "karras", "exponential", "sgm_uniform", "simple", "ddim_uniform", "beta"]


def k_sigmas(config, wrapped, steps, schedule):
    """The schedules of AUTOMATIC1111 and ComfyUI, without the closing zero. Theirs are written out after
    comfy/samplers.py (normal_scheduler with sgm, simple_scheduler, ddim_scheduler, beta_scheduler)."""
    all_sigmas = wrapped.sigmas
    if schedule == "normal":
        return wrapped.get_sigmas(steps)[:-1]
    if schedule == "karras":
        return sampling.get_sigmas_karras(steps, wrapped.sigma_min, wrapped.sigma_max)[:-1]
    if schedule == "exponential":
        return sampling.get_sigmas_exponential(steps, float(wrapped.sigma_min), float(wrapped.sigma_max))[:-1]
    if schedule == "sgm_uniform":
        t = torch.linspace(len(all_sigmas) - 1, 0, steps + 1)[:-1]
        return wrapped.t_to_sigma(t)
    if schedule == "simple":
        stride = len(all_sigmas) / steps
        return torch.stack([all_sigmas[-(1 + int(i * stride))] for i in range(steps)])
    if schedule == "ddim_uniform":
        stride = max(len(all_sigmas) // steps, 1)
        return torch.stack(list(all_sigmas[1::stride])[::-1])
    total = len(all_sigmas) - 1
    t = 1 - np.linspace(0, 1, steps, endpoint=False)
    t = np.rint(scipy.stats.beta.ppf(t, 0.6, 0.6) * total).astype(int)
    return torch.stack([all_sigmas[a] for i, a in enumerate(t) if i == 0 or a != t[i - 1]])


DROPS_LAST = ["dpm_2", "dpm_2_ancestral", "dpmpp_3m_sde", "uni_pc"]


def wrapped_of(config):
    inner = KModel(alphas_of(config))
    is_v = config.get("prediction_type") == "v_prediction"
    return (external.CompVisVDenoiser if is_v else external.CompVisDenoiser)(inner, quantize=False), is_v


def run_k(name, config, steps, schedule, init=None, strength=1.0, mask=None):
    """k-diffusion's samplers on any schedule. With `init`, as AUTOMATIC1111's img2img: `int(min(strength, 0.999) * steps)`
    and one more steps; with `mask` (1 is drawn anew) each prediction is mixed with what is kept."""
    wrapped, is_v = wrapped_of(config)
    drops = name in DROPS_LAST
    sigmas = k_sigmas(config, wrapped, steps + drops, schedule)
    sigmas = sampling.append_zero(sigmas[:-1] if drops else sigmas).float()
    noise, generator = start()
    x = noise * sigmas[0]
    if init is not None:
        n = len(sigmas) - 1
        sigmas = sigmas[n - int(min(strength, 0.999) * n) - 1 :]
        x = init + noise * sigmas[0]
    denoiser = wrapped
    if mask is not None:
        denoiser = lambda x, sigma, **extra: wrapped(x, sigma, **extra) * mask + init * (1 - mask)
    extra = {"extra_args": {"cond": None}} if is_v else {}
    if name in ("euler_ancestral", "dpm_2_ancestral", "dpmpp_2s_ancestral", "lcm"):
        extra["noise_sampler"] = lambda a, b: torch.randn(SHAPE, generator=generator)
    if name in ("dpmpp_sde", "dpmpp_2m_sde", "dpmpp_3m_sde"):
        least = sigmas[sigmas > 0].min()
        extra["noise_sampler"] = sampling.BrownianTreeNoiseSampler(x, least, sigmas.max(), seed=[SEED])
    seen = []
    see = lambda d: seen.append(d["x"].clone())
    if name == "lcm":
        final = sample_lcm(denoiser, x, sigmas, see, extra["noise_sampler"], extra.get("extra_args", {}))
    elif name == "uni_pc":
        final = sample_unipc(denoiser, x, sigmas, see, extra.get("extra_args", {}))
    else:
        final = getattr(sampling, f"sample_{name}")(denoiser, x, sigmas, disable=True, callback=see, **extra)
    if mask is not None:
        final = final * mask + init * (1 - mask)
    return torch.cat(seen[1:] + [final])


def sample_lcm(model, x, sigmas, callback, noise_sampler, extra_args):
    """ComfyUI's sample_lcm: the predicted picture, with fresh noise but at the end."""
    for i in range(len(sigmas) - 1):
        denoised = model(x, sigmas[i] * x.new_ones([x.shape[0]]), **extra_args)
        callback({"x": x})
        x = denoised
        if sigmas[i + 1] > 0:
            x = x + sigmas[i + 1] * noise_sampler(sigmas[i], sigmas[i + 1])
    return x


def sample_unipc(model, x, sigmas, callback, extra_args):
    """ComfyUI's sample_unipc is the UniPC authors' code: bh1, order min(3, steps - 1), ending at 0.001. The same steps by
    diffusers' scheduler, whose predictor and corrector are the same code too."""
    steps = len(sigmas) - 1
    scheduler = diffusers.UniPCMultistepScheduler(
        solver_order=max(1, min(3, steps - 1)), solver_type="bh1", prediction_type="sample", lower_order_final=True
    )
    scheduler.set_timesteps(steps)
    scheduler.sigmas = torch.cat([sigmas[:-1], torch.tensor([0.001])])
    scheduler.set_begin_index(0)
    x = x / (1 + sigmas[0] ** 2) ** 0.5
    for i in range(steps):
        exploding = x * (1 + scheduler.sigmas[i] ** 2) ** 0.5
        callback({"x": exploding})
        denoised = model(exploding, sigmas[i] * x.new_ones([x.shape[0]]), **extra_args)
        x = scheduler.step(denoised, scheduler.timesteps[i], x).prev_sample
    return x * (1 + 0.001**2) ** 0.5


def run_d(name, config, steps, schedule, spacing=None, init=None, strength=1.0, mask=None):
    """diffusers' schedulers. With `init`, as its img2img pipeline; with `mask` (1 is drawn anew) as its inpainting pipeline with a
    U-Net of four channels."""
    kwargs = dict(config)
    if spacing is not None:
        kwargs["timestep_spacing"] = spacing
    if schedule != "normal":
        kwargs[f"use_{schedule}_sigmas"] = True
    if name == "dpmpp_2m_sde":
        kwargs["algorithm_type"] = "sde-dpmsolver++"
    scheduler = {**CLASSES, **NEW_CLASSES}[name].from_config(kwargs)
    noise, generator = start()
    scheduler.set_timesteps(steps)
    timesteps, first = scheduler.timesteps, 0
    latents = noise * scheduler.init_noise_sigma
    if init is not None:
        first = max(steps - min(int(steps * strength), steps), 0)
        timesteps = timesteps[first:]
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(first)
        if mask is None or strength < 1:  # else nothing but noise, as the inpainting pipeline begins at full strength
            latents = scheduler.add_noise(init, noise, timesteps[:1])
    elif hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(0)
    extra = {"generator": generator} if name in ("euler_ancestral", "dpmpp_2m_sde", "lcm") else {}
    dumps = []
    for i, t in enumerate(timesteps):
        out = model(scheduler.scale_model_input(latents, t), t)
        latents = scheduler.step(out, t, latents, **extra, return_dict=False)[0]
        if mask is not None:
            kept = init
            if i < len(timesteps) - 1:
                kept = scheduler.add_noise(init, noise, timesteps[i + 1 : i + 2])
            latents = (1 - mask) * kept + mask * latents
        dumps.append(latents.clone())
    return torch.cat(dumps)


def new_cases():
    for schedule in SCHEDULES:
        for name in NEW_KDIFFUSION + ["euler", "dpmpp_2m"]:
            for steps in [4, 9] if schedule in ("normal", "karras", "ddim_uniform") else [6]:
                yield "sd_eps", "kdiffusion", name, schedule, "none", steps
        if schedule not in ("normal", "karras"):
            for name in ["euler_ancestral", "heun"]:
                yield "sd_eps", "kdiffusion", name, schedule, "none", 6
    for config in ["sd_v", "zero_snr_v", "linear"]:
        for name in NEW_KDIFFUSION:
            if (config, name) == ("zero_snr_v", "dpm_2_ancestral"):
                continue  # from a level of 4500 its first step goes down to one of which f32 knows two digits
            for schedule in ["normal", "exponential"]:
                yield config, "kdiffusion", name, schedule, "none", 7
    for config in ["sd_eps", "sd_v"]:
        for name in NEW_CLASSES:
            schedules = ["normal"] if name == "lcm" else ["normal", "karras", "exponential", "beta"]
            for schedule in schedules:
                for spacing in SPACINGS if schedule == "normal" and name != "lcm" else ["none"]:
                    yield config, "diffusers", name, schedule, spacing, 7
        for name in ["euler", "dpmpp_2m"]:
            for schedule in ["exponential", "beta"]:
                yield config, "diffusers", name, schedule, "none", 7


def make_more():
    """Samplers and schedules beyond the first five, beginnings from a picture, and masks."""
    tensors = {}
    for config, convention, name, schedule, spacing, steps in new_cases():
        values = CONFIGS[config]
        if convention == "diffusers":
            dumps = run_d(name, values, steps, schedule, None if spacing == "none" else spacing)
        else:
            dumps = run_k(name, values, steps, schedule)
        key = "/".join(map(str, (config, convention, name, schedule, spacing, steps)))
        assert torch.isfinite(dumps).all(), key
        tensors[key] = dumps.reshape(-1, COUNT).contiguous()
    init = torch.randn(SHAPE, generator=torch.Generator().manual_seed(77))
    mask = torch.rand(1, 1, *SHAPE[2:], generator=torch.Generator().manual_seed(78)).expand(SHAPE).contiguous()
    tensors["init"], tensors["mask"] = init.flatten(), mask.flatten()
    for name in NEW_KDIFFUSION + ["euler", "euler_ancestral", "heun", "dpmpp_2m"]:
        for strength in [0.3, 0.7, 1.0]:
            for kind, m in [("init", None), ("mask", mask)]:
                dumps = run_k(name, CONFIGS["sd_eps"], 8, "karras", init, strength, m)
                tensors[f"{kind}/kdiffusion/{name}/{strength}"] = dumps.reshape(-1, COUNT).contiguous()
    # Not LMS: begun in the middle, diffusers takes coefficients for derivatives that it does not have.
    for name in ["euler", "euler_ancestral", "dpmpp_2m", "ddim", "uni_pc", "lcm", "dpmpp_2m_sde"]:
        for strength in [0.3, 0.7, 1.0]:
            for kind, m in [("init", None), ("mask", mask)]:
                dumps = run_d(name, CONFIGS["sd_eps"], 8, "normal", None, init, strength, m)
                tensors[f"{kind}/diffusers/{name}/{strength}"] = dumps.reshape(-1, COUNT).contiguous()
    save_file(tensors, OUT / "more.safetensors")
    print(len(tensors), "tensors of further samplers")


def make_noise():
    draws = [
        [1], [15], [16], [17], [31], [32], [100], [4 * 8 * 8], [1, 1, 1], [15, 16, 15], [3, 17, 2, 100, 5], [700],
        [36] * 6,
    ]
    seeds = [0, 1, 42, 1234, 2**32 - 1, 2**32, 2**32 + 42, 987654321987654321, 2**63 + 7]
    tensors = {}
    for n, seed in enumerate(seeds):
        for draw in draws if n < 3 else draws[n % 4 :: 4]:
            generator = torch.Generator().manual_seed(seed)
            values = torch.cat([torch.randn(size, generator=generator) for size in draw])
            tensors[f"{seed}:" + ",".join(map(str, draw))] = values
    for seed, least, greatest, levels in [
        (0, 0.0291675, 14.614642, [14.614642, 7.5, 3.0, 1.25, 0.5, 0.0291675]),
        (1234, 0.1, 80.0, [80.0, 79.99, 20.0, 0.1]),
        (2**40 + 5, 0.03, 4.0, [4.0, 1.0, 0.03]),
    ]:
        x = torch.zeros(1, 3, 4, 5)
        tree = sampling.BrownianTreeNoiseSampler(x, torch.tensor(least), torch.tensor(greatest), seed=[seed])
        for a, b in zip(levels, levels[1:]):
            values = tree(torch.tensor(a), torch.tensor(b)).flatten()
            tensors[f"brownian:{seed},{least},{greatest},{a},{b}"] = values.contiguous()
    save_file(tensors, OUT / "noise.safetensors")


if __name__ == "__main__":
    OUT.mkdir(exist_ok=True)
    make_noise()
    make_samplers()
    make_more()
