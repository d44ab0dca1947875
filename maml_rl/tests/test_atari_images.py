"""Screens averaged down to small images, beside the same sums written out in whole numbers."""

from typing import Any, cast

import numpy as np
import pytest

from maml_rl.envs.atari_images import GreyReader, ImageShrinker

HEIGHT, WIDTH = 210, 160


def shares(length, size):
    """How much (size, length) of each pixel lies in each stretch, all of it being `size`."""
    return np.repeat(np.eye(size, dtype=np.int64), length, axis=1).reshape(size, length, size).sum(-1)


def rounded_means(screens, size):
    """Means (size, size) of the lighter of two screens, halves to the even number."""
    totals = shares(HEIGHT, size) @ screens.max(0).astype(np.int64) @ shares(WIDTH, size).T
    means, rests = np.divmod(totals, HEIGHT * WIDTH)
    return means + (2 * rests + means % 2 > HEIGHT * WIDTH)


@pytest.mark.parametrize("size", [1, 13, 42, 84, 160])
def test_images_are_means_of_the_lighter_of_two_screens_rounded_to_the_nearest_byte(size):
    screens = np.random.default_rng(size).integers(0, 256, (2, HEIGHT, WIDTH), np.uint8)
    image = np.zeros((size, size), np.uint8)
    shrink = ImageShrinker(HEIGHT, WIDTH, size)
    shrink(screens, image)
    np.testing.assert_array_equal(image, rounded_means(screens, size))
    shrink(screens[:1], image)
    np.testing.assert_array_equal(image, rounded_means(screens[:1], size))


@pytest.mark.parametrize("size", [42, 80])
def test_a_mean_in_the_middle_of_two_bytes_is_rounded_to_the_even_one(size):
    screen, image = np.zeros((1, HEIGHT, WIDTH), np.uint8), np.zeros((size, size), np.uint8)
    screen[0, :, ::2], screen[0, :, 1::2] = 3, 4
    ImageShrinker(HEIGHT, WIDTH, size)(screen, image)
    np.testing.assert_array_equal(image, rounded_means(screen, size))
    assert 4 in image


def test_a_screen_of_one_shade_stays_so():
    shrink, image = ImageShrinker(HEIGHT, WIDTH, 42), np.zeros((42, 42), np.uint8)
    for shade in (0, 1, 127, 254, 255):
        shrink(np.full((1, HEIGHT, WIDTH), shade, np.uint8), image)
        assert (image == shade).all()


@pytest.mark.parametrize("game", ["space_invaders", "demon_attack", "pong"])
def test_greys_are_those_of_ale_py_in_every_frame_and_it_is_asked_once_a_colour(game):
    pytest.importorskip("ale_py")
    from maml_rl.envs.atari_emulator import make_emulator

    emulator, read = make_emulator(game), GreyReader(HEIGHT, WIDTH)
    emulator.reset_game()
    actions, found = emulator.getMinimalActionSet(), np.zeros((HEIGHT, WIDTH), np.uint8)
    colours: set[int] = set()
    asked: list[int] = []

    class Asked:
        getScreen = emulator.getScreen  # noqa: N815

        def getScreenGrayscale(self, screen):  # noqa: N802
            asked.append(len(colours))
            emulator.getScreenGrayscale(screen)

    for index in np.random.default_rng(0).integers(0, len(actions), 300):
        emulator.act(actions[index])
        before = len(colours)
        colours |= set(np.unique(emulator.getScreen()).tolist())
        num_asked = len(asked)
        read(cast(Any, Asked()), found)
        assert len(asked) - num_asked == (len(colours) > before)
        np.testing.assert_array_equal(found, emulator.getScreenGrayscale())
