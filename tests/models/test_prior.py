"""The prior reads text causally, ignores padding, forgets a dropped text and keeps the better candidate."""

import copy

import pytest
import torch
import torch.nn.functional as F
from lightning import Trainer
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from lightning_mav.clip import Clip
from lightning_mav.diffusion import GaussianDiffusion, Sampler
from lightning_mav.models import Prior
from lightning_mav.nn.attention import attend
from lightning_mav.nn.prior import PriorTransformer, attention_mask
from lightning_mav.stages import PriorStage
from lightning_mav.weights import save_weights

D, L, W = 8, 6, 10


@pytest.fixture
def net():
    torch.manual_seed(0)
    net = PriorTransformer(D, text_width=W, width=16, num_layers=2, num_heads=2, context_length=L)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.3)
    return net.eval()


@pytest.fixture
def text():
    torch.manual_seed(1)
    mask = torch.arange(L) < torch.tensor([3, 5])[:, None]
    return {"text_embed": torch.randn(2, D), "text_hidden": torch.randn(2, L, W), "text_mask": mask}


X_T, T = torch.linspace(-1, 1, 2 * D).reshape(2, D), torch.tensor([3, 700])


def test_a_token_sees_only_what_came_before(net):
    block, x = net.transformer_blocks[0], torch.randn(1, L + 4, 16)
    mask = attention_mask(torch.ones(1, L + 4, dtype=torch.bool))
    changed = x.clone()
    changed[:, 4] = torch.randn(16)
    (before, _), (after, _) = block(x, mask), block(changed, mask)
    torch.testing.assert_close(before[:, :4], after[:, :4])
    assert not torch.isclose(before[:, 4:], after[:, 4:]).all(dim=-1).any()


def test_padding_does_not_matter(net, text):
    expected = net(X_T, T, **text)
    noisy = text["text_hidden"] + 100 * torch.randn(2, L, W) * ~text["text_mask"][..., None]
    torch.testing.assert_close(net(X_T, T, **{**text, "text_hidden": noisy}), expected)
    # Neither its content nor the neighbour whose length decides how much of it there is.
    alone = {key: value[:1] for key, value in text.items()}
    torch.testing.assert_close(net(X_T[:1], T[:1], **alone), expected[:1])


@pytest.mark.parametrize("key", ["text_embed", "text_hidden"])
def test_text_matters_and_a_dropped_one_does_not(net, text, key):
    other = {**text, key: text[key] + 1}
    drop = torch.tensor([True, False])
    before, after = net(X_T, T, **text, drop=drop), net(X_T, T, **other, drop=drop)
    torch.testing.assert_close(before[0], after[0])
    assert not torch.allclose(before[1], after[1])


def test_dropping_no_text_changes_nothing(net, text):
    kept = net(X_T, T, **text, drop=torch.zeros(2, dtype=torch.bool))
    torch.testing.assert_close(kept, net(X_T, T, **text))


def test_every_parameter_is_reached(net, text):
    net(X_T, T, **text, drop=torch.tensor([True, False])).square().sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_whitening_round_trip(net):
    image_embed = 3 + 2 * torch.randn(500, D)
    net.clip_mean.copy_(image_embed.mean(dim=0, keepdim=True))
    net.clip_std.copy_(image_embed.std(dim=0, keepdim=True))
    x_0 = net.whiten(image_embed)
    torch.testing.assert_close(x_0.mean(dim=0), torch.zeros(D), atol=1e-5, rtol=0)
    torch.testing.assert_close(x_0.std(dim=0), torch.ones(D))
    torch.testing.assert_close(net.unwhiten(x_0), image_embed)


def test_it_is_the_network_of_karlo(text):
    """With the same weights it equals diffusers' class, which Karlo's weights load into."""
    from diffusers import PriorTransformer as DiffusersPrior

    theirs = DiffusersPrior(
        num_attention_heads=2, attention_head_dim=D // 2, num_layers=2, embedding_dim=D, num_embeddings=L
    ).eval()
    ours = PriorTransformer(D, text_width=D, width=D, num_layers=2, num_heads=2, context_length=L).eval()
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.3)
    report = ours.load_state_dict(theirs.state_dict(), strict=False)
    assert report == (["null_text_embed"], [])

    hidden = text["text_hidden"][..., :D]
    expected = theirs(X_T, T, text["text_embed"], hidden, text["text_mask"]).predicted_image_embedding
    torch.testing.assert_close(ours(X_T, T, **{**text, "text_hidden": hidden}), expected)


def test_a_width_that_heads_do_not_share_is_refused():
    with pytest.raises(ValueError, match="got width=12 and num_heads=5"):
        PriorTransformer(D, text_width=W, width=12, num_layers=1, num_heads=5)


@pytest.mark.parametrize("length", [7, 300])
def test_attention_is_that_of_torch(length):
    q, k, v = torch.randn(3, 2, 2, length, 8)
    mask = torch.rand(2, 1, length, length) < 0.5
    mask[..., 0] = True
    torch.testing.assert_close(
        attend(q, k, v, mask), F.scaled_dot_product_attention(q, k, v, attn_mask=mask), atol=1e-5, rtol=1e-4
    )


class Denoiser(nn.Module):
    """Knows every answer: the candidate's own noise decides which of two embeddings it becomes."""

    embed_dim = 2

    def __init__(self):
        super().__init__()
        self.null = nn.Parameter(torch.zeros(()))

    def conditions(self, *, text_embed, text_hidden, text_mask, drop=None):
        return text_embed

    def forward(self, x_t, t, *, conditions):
        return torch.where(x_t[:, :1] > 0, conditions, -conditions)

    def unwhiten(self, x_0):
        return 3 * x_0


def make_prior(net, num_candidates=2, **kwargs):
    diffusion = GaussianDiffusion("cosine", prediction="x_0")
    sampler = Sampler("diffusers.DDIMScheduler", num_steps=4, **kwargs)
    return Prior(net, diffusion, sampler, num_candidates=num_candidates)


def test_sample_is_the_candidate_nearest_to_the_text():
    text = {
        "text_embed": torch.tensor([[1.0, 0.0]]).expand(64, 2),
        "text_hidden": torch.zeros(64, 1, 1),
        "text_mask": torch.ones(64, 1, dtype=torch.bool),
    }
    right = {}
    for num_candidates in (1, 2):
        prior = make_prior(Denoiser(), num_candidates)
        image_embed = prior.sample(**text, generator=torch.Generator().manual_seed(0))
        right[num_candidates] = (image_embed[:, 0] > 0).float().mean()
        torch.testing.assert_close(image_embed.abs(), 3 * text["text_embed"])
    assert 0.3 < right[1] < 0.7
    assert 0.6 < right[2] < 0.9


def test_best_is_no_farther_from_the_text_than_any_candidate(net, text):
    prior = make_prior(net, num_candidates=4)
    candidates = prior.sample_candidates(**text, generator=torch.Generator().manual_seed(2))
    assert candidates.shape == (2, 4, D)
    cosine = F.cosine_similarity(candidates, text["text_embed"][:, None], dim=-1)
    best = prior.sample(**text, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(F.cosine_similarity(best, text["text_embed"]), cosine.amax(dim=1))


def test_same_seed_same_sample_and_progress_counts_steps(net, text):
    prior, calls = make_prior(net, guidance_scale=3.0), []
    first, second = (
        prior.sample(
            **text, generator=torch.Generator().manual_seed(5), progress=lambda *call: calls.append(call)
        )
        for _ in range(2)
    )
    assert torch.equal(first, second)
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)] * 2


def test_samples_stay_within_five_deviations(net, text):
    nn.init.constant_(net.proj_to_clip_embeddings.bias, 100.0)
    net.clip_mean.fill_(2.0)
    net.clip_std.fill_(0.1)
    torch.testing.assert_close(make_prior(net).sample(**text), torch.full((2, D), 2.5))


def test_no_candidates_are_refused(net):
    with pytest.raises(ValueError, match="got 0"):
        make_prior(net, num_candidates=0)


def test_a_tiny_prior_learns_which_embedding_belongs_to_which_text():
    torch.manual_seed(0)
    net = PriorTransformer(D, text_width=W, width=32, num_layers=2, num_heads=2, context_length=L)
    prior = make_prior(net)
    image_embed = torch.randn(8, D)
    text = {
        "text_embed": torch.randn(8, D),
        "text_hidden": torch.randn(8, L, W),
        "text_mask": torch.ones(8, L, dtype=torch.bool),
    }
    optimizer = torch.optim.AdamW(prior.parameters(), lr=5e-3)
    cond = {key: value.repeat(4, *[1] * (value.dim() - 1)) for key, value in text.items()}
    for _ in range(120):
        optimizer.zero_grad()
        prior.loss(image_embed.repeat(4, 1), **cond).backward()
        optimizer.step()
    sampled = prior.eval().sample(**text, generator=torch.Generator().manual_seed(0))
    assert F.cosine_similarity(sampled, image_embed).min() > 0.95


@pytest.fixture
def stage(tmp_path):
    torch.manual_seed(0)
    clip = Clip(
        D,
        image_size=8,
        vision={"width": 16, "layers": 1, "patch_size": 4, "head_width": 8},
        text={"width": W, "heads": 2, "layers": 1, "context_length": L},
    )
    path = save_weights(clip, tmp_path / "clip.safetensors")
    net = PriorTransformer(D, text_width=W, width=16, num_layers=1, num_heads=2, context_length=L)
    return PriorStage(
        net,
        GaussianDiffusion("cosine", prediction="x_0"),
        Sampler("diffusers.DDIMScheduler", num_steps=2),
        clip=str(path),
        num_whitening_batches=4,
    )


class Images(IterableDataset):
    def __iter__(self):
        generator = torch.Generator().manual_seed(0)
        while True:
            yield {"image": torch.rand(6, 3, 8, 8, generator=generator), "text": ["a red ball", ""] * 3}


def fit(stage, folder, max_steps, ckpt_path=None, dataset=None):
    trainer = Trainer(
        max_steps=max_steps,
        accelerator="cpu",
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        val_check_interval=2,
        limit_val_batches=1,
        num_sanity_val_steps=0,
    )
    loader = DataLoader(dataset or Images(), batch_size=None)
    trainer.fit(stage, loader, loader, ckpt_path=ckpt_path)
    return trainer


@pytest.mark.filterwarnings("ignore")
def test_stage_trains_whitens_once_and_leaves_clip_out(stage, tmp_path):
    trainer = fit(stage, tmp_path, max_steps=2)
    assert {"train/loss", "val/loss", "val/cosine", "val/cosine_of_one"} <= trainer.callback_metrics.keys()

    batches = [batch["image"] for batch, _ in zip(Images(), range(4), strict=False)]
    x_0 = stage.model.net.whiten(stage.embed_image(torch.cat(batches)))
    torch.testing.assert_close(x_0.mean(dim=0), torch.zeros(D), atol=1e-4, rtol=0)
    torch.testing.assert_close(x_0.std(dim=0), torch.ones(D), atol=1e-3, rtol=0)

    assert not any("clip." in name for name in stage.state_dict())
    assert not any(parameter.requires_grad for parameter in stage.clip.parameters())
    assert not stage.clip.training

    trainer.save_checkpoint(tmp_path / "last.ckpt")
    twin = copy.deepcopy(stage)
    twin.num_whitening_batches = 0  # measuring again would fail
    fit(twin, tmp_path, max_steps=3, ckpt_path=tmp_path / "last.ckpt")
    torch.testing.assert_close(twin.model.net.clip_mean, stage.model.net.clip_mean)


class Numbered(IterableDataset):
    """Goes on where the last iterator has stopped, as the datamodules' streams do."""

    number = -1

    def __iter__(self):
        while True:
            self.number += 1
            yield {"image": torch.rand(6, 3, 8, 8), "text": ["a red ball"] * 6, "number": self.number}


@pytest.mark.filterwarnings("ignore")
def test_measuring_takes_no_batch_from_training(stage, tmp_path):
    seen, prepare = [], stage.prepare
    stage.prepare = lambda batch: seen.append(batch["number"]) or prepare(batch)
    stage.validation_step = lambda *_: None
    fit(stage, tmp_path, max_steps=3, dataset=Numbered())
    assert seen == [0, 1, 2]


def test_stage_drops_texts(stage):
    stage.setup("fit")
    stage.cond_drop_prob = 0.5
    batch = {"image": torch.rand(200, 3, 8, 8), "text": ["a red ball"] * 200}
    assert 50 < stage.prepare(batch)[1]["drop"].sum() < 150
