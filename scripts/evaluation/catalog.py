"""What `--attacks all` stands for: every attack there is, at a strength that does harm.

One recipe for each registered attack, and a few combinations that a defense must not fall for; a test holds the list
against the registry. Factors are those of the papers where they give one.
"""

from __future__ import annotations

ALL = "all"
STORY = "story"
NONE = "none"

CATALOG: tuple[str, ...] = (
    # what hostile clients do with their own data
    "label_flip",
    "targeted_flip(source=1, target=0)",
    "backdoor",
    "backdoor(trigger='blended')",
    "backdoor(trigger='pixels')",
    "dba",
    "clean_label",
    "feature_noise",
    # with their training
    "backdoor + neurotoxin",
    "sponge",
    # with their own updates
    "sign_flip",
    "gaussian",
    "free_rider",
    "label_flip + sybil",
    "backdoor + model_replacement",
    "sign_flip + sleeper(wakes=10)",
    "label_flip + schedule(start=2, every=2)",
    # together, knowing the honest updates
    "ipm",
    "ipm(epsilon=0.5)",
    "ipm + jitter",
    "ipm(epsilon=0.5) + jitter",
    "alie(z=1.5)",
    "alie(z=1.5) + jitter",
    "alie(z=1.5) + jitter(share=1.0)",
    "min_max",
    "min_sum",
    "min_max + jitter",
    "min_sum + jitter",
    "backdoor + min_max(direction='own')",
    "fang(against='krum')",
    "fang(against='krum') + jitter",
    "fang(against='trimmed_mean')",
    "fang(against='trimmed_mean') + jitter",
    "mimic",
    "mimic + jitter",
    "mimic + jitter(share=1.0)",
    "optimized(family='ipm')",
    "optimized(family='ipm') + jitter",
    "optimized(family='alie')",
    "optimized(family='alie') + jitter",
    "optimized(family='unseen')",
    # with the messages
    "lie_about_counts",
    "malformed",
)

QUICK: tuple[str, ...] = (
    "sign_flip",
    "gaussian",
    "label_flip",
    "ipm",
    "alie(z=1.5)",
    "backdoor + model_replacement",
)
"""A first impression, in half a minute."""
