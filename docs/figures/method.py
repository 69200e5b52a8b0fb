"""The picture of the method: ``python docs/figures/method.py docs/figures/method.png``."""

import sys

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

COLORS = {"cat": "#2563a8", "dog": "#d9730d"}
PALE = {"cat": "#dbe8f6", "dog": "#fbe6d0"}
INK, MUTED = "#1f2933", "#5f6b76"
SIZE, BAR = 0.72, 2.25  # of a box, of a label
UPPER, LOWER = 1.55, 0.35
COLUMNS = {
    0.3: ("Two samples of a batch", "of different classes"),
    2.75: ("Swap one modality", "each way: two mixed samples"),
    5.12: ("Label softly", "by the confidence of unimodal heads"),
    8.05: ("Weigh both", "in the loss"),
}


def draw_box(axes, x, y, name):
    style = "round,pad=0.03"
    axes.add_patch(FancyBboxPatch((x, y), SIZE, SIZE, boxstyle=style, fc=PALE[name], ec=COLORS[name], lw=1.5))


def draw_audio(axes, x, y, name):
    draw_box(axes, x, y, name)
    time = np.linspace(0, 1, 120)
    beat = {"cat": 9, "dog": 5}[name]
    wave = np.sin(2 * np.pi * beat * time) * np.sin(np.pi * time) * np.cos(2 * np.pi * time)
    axes.plot(x + SIZE * (0.06 + 0.88 * time), y + SIZE * (0.5 + 0.38 * wave), color=COLORS[name], lw=1.2)


def draw_image(axes, x, y, name):
    draw_box(axes, x, y, name)
    pixels = np.random.default_rng({"cat": 5, "dog": 8}[name]).random((4, 4)) < 0.5
    step = 0.84 * SIZE / 4
    for row, column in zip(*np.nonzero(pixels), strict=True):
        corner = x + 0.08 * SIZE + column * step, y + 0.08 * SIZE + row * step
        axes.add_patch(Rectangle(corner, step, step, fc=COLORS[name], ec="none"))


def draw_sample(axes, x, y, audio, image):
    draw_audio(axes, x, y, audio)
    draw_image(axes, x + 0.95, y, image)


def draw_arrow(axes, start, end, color=MUTED):
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=11, color=color))


def draw_titles(axes):
    for x, (title, note) in COLUMNS.items():
        axes.text(x, 3.0, title, size=11.5, weight="bold", color=INK, va="center")
        axes.text(x, 2.73, note, size=9, color=MUTED, va="center")
    for x, name in ((0.66, "audio"), (1.61, "image"), (3.11, "audio"), (4.06, "image")):
        axes.text(x, 2.42, name, size=9, color=MUTED, ha="center", va="center")


def draw_swap(axes):
    for y, name in ((UPPER, "cat"), (LOWER, "dog")):
        draw_sample(axes, 0.3, y, name, name)
        axes.text(1.13, y - 0.17, name, size=9, color=COLORS[name], ha="center", va="center")
    draw_sample(axes, 2.75, UPPER, "cat", "dog")
    draw_sample(axes, 2.75, LOWER, "dog", "cat")
    for start, end, name in (
        (UPPER + 0.5, UPPER + 0.5, "cat"),
        (LOWER + 0.22, LOWER + 0.22, "dog"),
        (UPPER + 0.2, LOWER + 0.52, "cat"),
        (LOWER + 0.52, UPPER + 0.2, "dog"),
    ):
        draw_arrow(axes, (2.04, start), (2.68, end), COLORS[name])


def draw_label(axes, y, shares):
    left = 5.12
    for name, share in shares.items():
        axes.add_patch(Rectangle((left, y), BAR * share, 0.36, fc=COLORS[name], ec="white", lw=1))
        text = f"{name} {share:g}"
        axes.text(left + BAR / 2 * share, y + 0.17, text, color="white", ha="center", va="center", size=9)
        left += BAR * share


def draw_labels(axes):
    # Confidences of 0.3 and 0.9 make a label of 0.25 and 0.75: the example of the paper.
    for y, sure, shares in (
        (UPPER, "audio 0.3, image 0.9", {"cat": 0.25, "dog": 0.75}),
        (LOWER, "audio 0.5, image 0.75", {"dog": 0.4, "cat": 0.6}),
    ):
        draw_arrow(axes, (4.5, y + 0.36), (5.02, y + 0.36))
        axes.text(5.12, y + 0.57, f"confidence: {sure}", size=8.5, color=MUTED, va="center")
        draw_label(axes, y + 0.05, shares)
        draw_arrow(axes, (7.42, y + 0.36), (7.86, y + 0.36))


def draw_weights(axes):
    axes.plot([7.94, 7.94], [LOWER + 0.1, UPPER + 0.62], color=MUTED, lw=1)
    for y, text in (
        (1.75, "$\\times\\;\\alpha$: more for a modality\nthat the fused model\nundervalues"),
        (0.85, "$\\times\\;1$ to $2$: more where the\nnew part resembles\nthe old one"),
    ):
        axes.text(8.05, y, text, size=9, color=INK, va="center", linespacing=1.3)


def draw_method():
    figure = Figure(figsize=(10, 3.3), dpi=160, facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, 10), ylim=(0, 3.3))
    axes.axis("off")
    for draw in (draw_titles, draw_swap, draw_labels, draw_weights):
        draw(axes)
    return figure


if __name__ == "__main__":
    with mpl.rc_context({"font.family": "DejaVu Sans", "mathtext.fontset": "dejavusans"}):
        draw_method().savefig(sys.argv[1])
