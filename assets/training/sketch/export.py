"""Writes sketch as a diffusers folder with f16 weights.

    python export.py --run FOLDER --to ../../models/sketch
    python export.py --run FOLDER --to ../../models/sketch --leave relations   # the vocabulary does not promise them

The layout is the one of Stable Diffusion 1.x: `StableDiffusionPipeline.from_pretrained` loads it, and so does every
program that knows that layout. Tensor names are checked against Stable Diffusion's, since library versions differ.
"""

import argparse
import json
import shutil
from pathlib import Path

import torch
from diffusers import DPMSolverMultistepScheduler
from safetensors.torch import save_file

from models import BETA_END, BETA_START, TRAIN_STEPS, make_autoencoder, make_text, make_unet
from more import MORE
from scenes import PAINTED
from subjects import BACKGROUNDS, COLOURS, COUNTS, RELATIONS, STYLES, SUBJECTS, TINTS, UNTINTED, held_out

LICENCE = ("Weights: MIT OR Apache-2.0, as Diptych. Trained on drawings of Microsoft Fluent Emoji (MIT) and Noto Emoji "
           "(Apache-2.0)")

# of pictures of a side: what the studio proposes
DEFAULTS = {
    "kind": "image", "name": "sketch", "steps": 20, "guidance": 4.0, "sampler": "DPM++ 2M", "schedule": "Karras",
    "spacing": "leading", "prediction": "v_prediction", "licence": LICENCE,
}

EXAMPLES = [
    "a red fox, flat style", "a blue house, 3d style, meadow", "three penguins, flat style, snow",
    "two mushrooms left of a blue house, flat style, night sky", "a green cactus, noto style, desert",
    "a rocket right of the moon, 3d style, night sky", "a purple cat, noto style",
    "a panda, 3d style, green background", "a sun above a house, noto style, blue sky",
    "a robot, color style, red background",
    "a drawing of a penguin, blue background", "three fish below a sailboat, flat style, sea",
]

SCENE_EXAMPLES = [
    "a red fox, flat style", "a penguin in the snow", "a blue house, 3d style, meadow", "a cat at night",
    "a green cactus, noto style, desert", "three penguins, flat style, snow", "a rocket in space, 3d style",
    "a purple cat, noto style", "a panda, 3d style, green background", "a sailboat, noto style, sea",
    "a robot, color style, red background", "two balloons, noto style, blue sky",
]

PLAIN_EXAMPLES = [
    "a red fox, flat style", "an orange fox, 3d style, blue background", "a butterfly on a yellow background",
    "a green cactus, noto style, pink background", "a castle, 3d style, purple background",
    "a rocket on a black background, flat style", "a red mushroom, noto style", "a panda, 3d style, green background",
    "a watermelon, flat style, green background", "a robot, color style, red background",
    "a drawing of a penguin, blue background", "the sun, 3d style, blue background",
]


def halves(state, prefix=""):
    """f16 copies; bookkeeping tensors that no checkpoint of this kind holds are left out."""
    return {
        prefix + name: value.detach().half().contiguous()
        for name, value in state.items() if not name.endswith("position_ids")
    }


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_model(folder, name, model, weights, prefix=""):
    """One part of the pipeline: config and weights."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(halves(model.state_dict(), prefix), str(folder / weights), metadata={"format": "pt"})
    if name == "text_encoder":
        config = model.config.to_dict()
        keep = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
                "max_position_embeddings", "hidden_act", "layer_norm_eps", "attention_dropout", "projection_dim",
                "bos_token_id", "eos_token_id", "pad_token_id", "initializer_factor", "initializer_range")
        config = {key: config[key] for key in keep}
        config.update(architectures=["CLIPTextModel"], model_type="clip_text_model", dtype="float16", dropout=0.0)
    else:
        config = {key: value for key, value in model.config.items() if not key.startswith("_")}
        config = {"_class_name": type(model).__name__, **config}
    write_json(folder / "config.json", config)


def write(run, to, leave=()):
    """Writes what `run` holds of averaged weights as a diffusers folder; the vocabulary leaves out the keys `leave`."""
    run, to = Path(run), Path(to)
    words = len(json.loads((run / "tokenizer" / "vocab.json").read_text()))
    state = torch.load(run / "checkpoint.pt", map_location="cpu")
    size = state.get("size", 64)
    unet, text, autoencoder = make_unet(size), make_text(size, words), make_autoencoder(size)
    torch.nn.ModuleList([unet, text]).load_state_dict(state["average"])
    autoencoder.load_state_dict(torch.load(run / "autoencoder.pt", map_location="cpu"))
    # some versions of transformers drop the prefix that Stable Diffusion's files have
    bare = not next(iter(text.state_dict())).startswith("text_model.")
    write_model(to / "text_encoder", "text_encoder", text, "model.safetensors", "text_model." if bare else "")
    write_model(to / "unet", "unet", unet, "diffusion_pytorch_model.safetensors")
    write_model(to / "vae", "vae", autoencoder, "diffusion_pytorch_model.safetensors")
    (to / "tokenizer").mkdir(exist_ok=True)
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(run / "tokenizer" / name, to / "tokenizer" / name)
    scheduler = DPMSolverMultistepScheduler(
        num_train_timesteps=TRAIN_STEPS, beta_start=BETA_START, beta_end=BETA_END, beta_schedule="scaled_linear",
        prediction_type="v_prediction", use_karras_sigmas=True, steps_offset=1, timestep_spacing="leading",
    )
    (to / "scheduler").mkdir(exist_ok=True)
    # only what differs from any sampler's own defaults; some defaults are infinite, which JSON cannot say
    keep = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas", "prediction_type",
            "algorithm_type", "solver_order", "solver_type", "use_karras_sigmas", "timestep_spacing", "steps_offset",
            "final_sigmas_type", "rescale_betas_zero_snr")
    config = {key: scheduler.config[key] for key in keep}
    write_json(to / "scheduler" / "scheduler_config.json", {"_class_name": type(scheduler).__name__, **config})
    write_json(to / "model_index.json", {
        "_class_name": "StableDiffusionPipeline",
        "feature_extractor": [None, None], "image_encoder": [None, None], "requires_safety_checker": False,
        "safety_checker": [None, None], "scheduler": ["diffusers", type(scheduler).__name__],
        "text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"],
    })
    first = {key: DEFAULTS[key] for key in ("kind", "name")}
    write_json(to / "diptych.json", first | {"width": size, "height": size} | DEFAULTS)
    # runs from before scenes were composed know single things alone
    nouns = json.loads((run / "subjects.json").read_text()) if (run / "subjects.json").exists() else None
    known = nouns or list(dict.fromkeys(SUBJECTS.values()))
    order = [noun for noun in dict.fromkeys([*SUBJECTS.values(), *MORE.values()]) if noun in known]
    vocabulary = {
        "subjects": order, "styles": [f"{style} style" for style in STYLES],
        "backgrounds": [f"{name} background" for name in BACKGROUNDS],
        "colours": {noun: colours for noun, colours in COLOURS.items() if noun in known},
        "examples": EXAMPLES if nouns else PLAIN_EXAMPLES,
    }
    if nouns:
        pairs = [f"{noun}, {kind} {value}" for noun in order for kind, values in (
            ("style", STYLES), ("tint", TINTS), ("background", [*BACKGROUNDS, *PAINTED]))
            for value in values if held_out(noun, kind, value)]
        shown = EXAMPLES if "relations" not in leave else SCENE_EXAMPLES
        vocabulary |= {"examples": shown, "scenes": list(PAINTED), "tints": list(TINTS), "untinted": sorted(UNTINTED & set(order)),
                       "counts": list(COUNTS), "relations": RELATIONS, "held_out": pairs}
    write_json(to / "vocabulary.json", {key: value for key, value in vocabulary.items() if key not in leave})
    total = sum(path.stat().st_size for path in to.rglob("*") if path.is_file())
    print(f"{to}: step {state['step']}, {state['minutes']:.1f} min, {total / 1e6:.2f} MB")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--leave", nargs="*", default=[], help="what the run has not learnt, such as relations")
    options = parser.parse_args()
    write(options.run, options.to, options.leave)


if __name__ == "__main__":
    main()
