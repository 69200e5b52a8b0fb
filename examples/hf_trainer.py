"""
The Trainer of Hugging Face
===========================

MIDAS in the Trainer of Hugging Face: the left and the right half of each digit as two modalities.
"""

import numpy as np
from sklearn.datasets import load_digits
from torch import nn
from transformers import Trainer, TrainingArguments

from midas_core.adapters.torch import MidasLoss
from midas_core.adapters.transformers import MidasCallback
from midas_core.report import write_report

digits = load_digits()
images = (digits.images / 16).astype("float32")
samples = [
    {"left": image[:, :4].ravel(), "right": image[:, 4:].ravel(), "labels": label}
    for image, label in zip(images, digits.target, strict=True)
]


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoders = nn.ModuleDict({m: nn.Sequential(nn.Linear(32, 64), nn.ReLU()) for m in ("left", "right")})
        self.head = nn.Linear(128, 10)
        self.criterion = MidasLoss(num_classes=10, feature_dims={"left": 64, "right": 64}, weight=2.0, warmup_epochs=1)

    def forward(self, left, right, labels=None):
        features = {"left": self.encoders["left"](left), "right": self.encoders["right"](right)}
        if labels is None:
            return {"logits": self.criterion.fuse(features, head=self.head)}
        terms, logits = self.criterion.terms(features, labels, head=self.head, return_logits=True)
        return {"loss": terms.total, "logits": logits}


trainer = Trainer(
    Classifier(),
    TrainingArguments(
        "checkpoints",
        num_train_epochs=10,
        per_device_train_batch_size=32,
        per_device_eval_batch_size=256,
        learning_rate=1e-2,
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=1,
        load_best_model_at_end=True,
        metric_for_best_model="accuracy",
        logging_strategy="epoch",
        report_to="none",
    ),
    train_dataset=samples[:600],
    eval_dataset=samples[600:],
    compute_metrics=lambda found: {"accuracy": np.mean(found.predictions.argmax(axis=1) == found.label_ids)},
    callbacks=[MidasCallback("runs/trainer")],
)
trainer.train()
print(f"accuracy {trainer.evaluate()['eval_accuracy']:.3f}")
print(write_report(["runs/trainer"], "runs/report.html"))
