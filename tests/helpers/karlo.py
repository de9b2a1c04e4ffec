"""Karlo in small: diffusers' modules with random weights, in diffusers' folder and in its authors' files."""

import torch
from safetensors.torch import save_file
from torch import nn

from lightning_mav.clip import Clip
from lightning_mav.weights import save_weights
from lightning_mav.weights.imports.karlo import build_networks
from lightning_mav.weights.imports.reference import build_references

# Of embeddings, texts, attention heads and images. As many tokens as pixels would confuse diffusers' mask.
D, LENGTH, HEAD, SIZE = 16, 13, 16, 8
# of a scale that extends karlo
LAYERS = {
    "prior": f"""net: {{init_args: {{embed_dim: {D}, text_width: {D}, width: 32, num_layers: 2, num_heads: 2,
        context_length: {LENGTH}}}}}""",
    "decoder": f"""unet: {{init_args: {{channels: 32, channel_mults: [1, 2], num_blocks: 1,
        attention_levels: [1], head_channels: {HEAD}, image_embed_dim: {D},
        context_channels: 24}}}}
    image_size: {SIZE}""",
    "sr_lt": "unet: {init_args: {channels: 32, channel_mults: [1, 2], num_blocks: 1}}",
}


def write_scale(folder):
    """Writes a scale with Karlo's layers in small."""
    folder.mkdir(parents=True)
    folder.with_name(f"{folder.name}.yaml").write_text("extends: karlo\n")
    for stage, layer in LAYERS.items():
        (folder / f"{stage}.yaml").write_text(f"model:\n  init_args:\n    {layer}\n")
    return folder


def make_clip(path):
    """Writes a small CLIP with random weights."""
    vision = {"width": 16, "layers": 1, "patch_size": 4, "head_width": 8}
    text = {"width": D, "heads": 2, "layers": 1, "context_length": LENGTH}
    clip = Clip(D, image_size=8, vision=vision, text=text)
    for parameter in clip.parameters():
        nn.init.normal_(parameter, std=0.5)
    save_weights(clip, path, dtype="fp32")
    return clip.eval()


def make_modules(settings):
    """Returns diffusers' five modules in the sizes of these settings, with random weights."""
    nets = build_networks(settings)
    modules = build_references(nets.prior, nets.decoder, nets.super_res_first)
    for name, module in modules.items():
        module.load_state_dict(random_state(module, seed=len(name)), assign=True)
        module.requires_grad_(False)
    return modules


def random_state(module, seed=0):
    """Returns random tensors for a module; outputs stay about as large as inputs."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, tensor in module.state_dict().items():
        noise = torch.randn(tensor.shape, generator=generator)
        is_scale = name == "clip_std" or ("norm" in name and name.endswith("weight"))
        state[name] = (
            is_scale + 0.2 * noise if is_scale or noise.dim() < 2 else noise / noise[0].numel() ** 0.5
        )
    return state


def write_diffusers(folder, modules):
    """Writes the folder as ``save_pretrained`` does, but for the configurations."""
    for name, module in modules.items():
        (folder / name).mkdir(parents=True)
        save_file(module.state_dict(), folder / name / "diffusion_pytorch_model.safetensors")
    return folder


def write_authors(folder, modules):
    """Writes the files of Karlo's authors: the inverse of diffusers' conversion."""
    folder.mkdir()
    state = {name: module.state_dict() for name, module in modules.items()}
    decoder = unet_of(modules["decoder"]) | text_of(state["text_proj"])
    first, last = (unet_of(modules[f"super_res_{name}"]) for name in ("first", "last"))
    save(folder / "decoder-ckpt-step=1.ckpt", model=decoder)
    save(folder / "prior-ckpt-step=1.ckpt", model=prior_of(state["prior"]))
    save(folder / "improved-sr-ckpt-step=1.ckpt", model_first_steps=first, model_last_step=last)
    torch.save((state["prior"]["clip_mean"][0], state["prior"]["clip_std"][0]), folder / "ViT-L-14_stats.th")
    return folder


def save(path, **parts):
    tensors = {
        f"{part}.{name}": tensor.clone() for part, found in parts.items() for name, tensor in found.items()
    }
    torch.save({"state_dict": tensors, "global_step": 1}, path)


def head_by_head(*parts, head):
    """Rows of queries, keys and values as the authors keep them."""
    heads = [part.unflatten(0, (-1, head)) for part in parts]
    return torch.cat([rows for of_one in zip(*heads, strict=True) for rows in of_one])


def both(state, theirs, name):
    return {
        f"{name}.{last}": state[f"{theirs}.{last}"]
        for last in ("weight", "bias")
        if f"{theirs}.{last}" in state
    }


def unet_of(module):
    state, out = module.state_dict(), {}

    def add(theirs, name):
        out.update(both(state, theirs, name))

    def resnet(theirs, name):
        for ours, layer in (
            ("norm1", "in_layers.0"), ("conv1", "in_layers.2"), ("time_emb_proj", "emb_layers.1"),
            ("norm2", "out_layers.0"), ("conv2", "out_layers.3"), ("conv_shortcut", "skip_connection"),
        ):  # fmt: skip
            add(f"{theirs}.{ours}", f"{name}.{layer}")

    def attention(theirs, name):
        add(f"{theirs}.group_norm", f"{name}.norm")
        for last in ("weight", "bias"):
            q, k, v, add_k, add_v, proj = (
                state[f"{theirs}.{layer}.{last}"]
                for layer in ("to_q", "to_k", "to_v", "add_k_proj", "add_v_proj", "to_out.0")
            )
            tensors = {
                "qkv": head_by_head(q, k, v, head=HEAD),
                "encoder_kv": head_by_head(add_k, add_v, head=HEAD),
            }
            for layer, tensor in {**tensors, "proj_out": proj}.items():
                out[f"{name}.{layer}.{last}"] = tensor[..., None] if last == "weight" else tensor

    for theirs, name in (
        ("time_embedding.linear_1", "time_embed.0"), ("time_embedding.linear_2", "time_embed.2"),
        ("conv_in", "input_blocks.0.0"), ("conv_norm_out", "out.0"), ("conv_out", "out.2"),
    ):  # fmt: skip
        add(theirs, name)
    number = 1
    for level, block in enumerate(module.down_blocks):
        at = f"down_blocks.{level}"
        for j in range(len(block.resnets)):
            resnet(f"{at}.resnets.{j}", f"input_blocks.{number}.0")
            if hasattr(block, "attentions"):
                attention(f"{at}.attentions.{j}", f"input_blocks.{number}.1")
            number += 1
        if block.downsamplers is not None:
            resnet(f"{at}.downsamplers.0", f"input_blocks.{number}.0")
            number += 1
    resnet("mid_block.resnets.0", "middle_block.0")
    has_attention = "mid_block.attentions.0.to_q.weight" in state
    if has_attention:
        attention("mid_block.attentions.0", "middle_block.1")
    resnet("mid_block.resnets.1", f"middle_block.{1 + has_attention}")
    number = 0
    for level, block in enumerate(module.up_blocks):
        at = f"up_blocks.{level}"
        for j in range(len(block.resnets)):
            resnet(f"{at}.resnets.{j}", f"output_blocks.{number}.0")
            if hasattr(block, "attentions"):
                attention(f"{at}.attentions.{j}", f"output_blocks.{number}.1")
            number += 1
        if block.upsamplers is not None:
            resnet(f"{at}.upsamplers.0", f"output_blocks.{number - 1}.{1 + hasattr(block, 'attentions')}")
    return out


def text_of(state):
    out = {"cf_param": state["learned_classifier_free_guidance_embeddings"]}
    for theirs, name in (
        ("clip_image_embeddings_project_to_time_embeddings", "clip_emb"),
        ("clip_extra_context_tokens_proj", "clip_tok_proj"), ("embedding_proj", "text_feat_proj"),
        ("encoder_hidden_states_proj", "text_seq_proj.0"),
        ("text_encoder_hidden_states_norm", "text_seq_proj.1"),
    ):  # fmt: skip
        out |= both(state, theirs, name)
    return out


def prior_of(state):
    out = {"positional_embedding": state["positional_embedding"], "prd_emb": state["prd_embedding"]}
    for theirs, name in (
        ("time_embedding.linear_1", "time_embed.0"), ("time_embedding.linear_2", "time_embed.2"),
        ("proj_in", "clip_img_proj"), ("embedding_proj", "text_emb_proj"), ("norm_out", "final_ln"),
        ("encoder_hidden_states_proj", "text_enc_proj"), ("proj_to_clip_embeddings", "out_proj"),
    ):  # fmt: skip
        out |= both(state, theirs, name)
    for number in range(2):
        theirs, name = f"transformer_blocks.{number}", f"transformer.resblocks.{number}"
        for ours, layer in (
            ("norm1", "ln_1"), ("norm3", "ln_2"), ("attn1.to_out.0", "attn.c_proj"),
            ("ff.net.0.proj", "mlp.c_fc"), ("ff.net.2", "mlp.c_proj"),
        ):  # fmt: skip
            out |= both(state, f"{theirs}.{ours}", f"{name}.{layer}")
        for last in ("weight", "bias"):
            qkv = [state[f"{theirs}.attn1.to_{part}.{last}"] for part in "qkv"]
            out[f"{name}.attn.c_qkv.{last}"] = head_by_head(*qkv, head=HEAD)
    return out
