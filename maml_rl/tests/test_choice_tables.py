"""Tables of trials: separators, names of columns, arms and missed trials; mistakes cost one line."""

from __future__ import annotations

import numpy as np
import pytest

from maml_rl.analysis.arms import MISSED
from maml_rl.analysis.choices import Choices
from maml_rl.analysis.people.bandit_tables import read_choices, write_choices
from maml_rl.analysis.people.table_files import TableFormat
from maml_rl.analysis.people.two_step_tables import read_two_step, write_two_step
from maml_rl.analysis.two_step_choices import TwoStepChoices
from maml_rl.utils.errors import InputError
from maml_rl.utils.random import Purpose, generator

HEADER = "subject,episode,trial,choice,reward\n"


def written(tmp_path, text):
    path = tmp_path / "choices.csv"
    path.write_text(text)
    return path


def test_choices_are_read_from_a_table(tmp_path):
    path = written(tmp_path, HEADER + "ann,1,1,0,60\nann,1,2,3.0,40\nbob,x,1,2,10\nann,2,1,1,50\nann,2,2.0,,\n")
    found = read_choices(path, num_arms=4, reward_scale=50.0)
    assert list(found) == ["ann", "bob"]
    assert found["ann"].choices.tolist() == [[0, 3], [1, MISSED]]
    assert found["ann"].rewards.tolist() == [[1.2, 0.8], [1.0, 0.0]]
    assert found["bob"].choices.tolist() == [[2]]
    assert found.notes[1:] == (
        "2 subjects, 1 to 2 episodes each, of 1 to 2 trials; 4 choices in all",
        "1 trials without a choice: nothing is learned from them, but time goes on",
    )


@pytest.mark.parametrize("separator", [",", ";", "\t", "|", " "])
@pytest.mark.parametrize("given", [True, False])
def test_any_separator_and_any_names_of_columns_do(tmp_path, separator, given):
    rows = ["ID,block,n,button,points,rt", "7,1,1,left,1,300", "7,1,2,right,0,250", "8,1,1,right,1,100"]
    path = written(tmp_path, "\n".join(row.replace(",", separator) for row in rows) + "\n")
    columns = {"subject": "ID", "episode": "block", "trial": "n", "choice": "button", "reward": "points"}
    found = read_choices(path, form=TableFormat(columns, separator if given else "auto"))
    assert found.arms == ("left", "right")
    assert found["7"].choices.tolist() == [[0, 1]]
    assert found["8"].rewards.tolist() == [[1.0]]
    assert found.notes[0] == "choice: 2 arms by name, in the order left, right (found from the file)"


def test_columns_that_a_file_lacks_are_said_to_be_missing(tmp_path):
    path = written(tmp_path, "choice;reward\n1;0,5\n2;1,5\nslow;9\n1;0\n")
    columns = dict.fromkeys(("subject", "episode", "trial"), "")
    found = read_choices(path, form=TableFormat(columns, missing=["slow"]))
    assert found["all"].choices.tolist() == [[0, 1, MISSED, 0]]
    assert found["all"].rewards.tolist() == [[0.5, 1.5, 0.0, 0.0]]  # decimal commas between semicolons


@pytest.mark.parametrize(
    ("arms", "options", "expected", "note"),
    [
        ("0 1 2", {}, [0, 1, 2], "3 arms, counted from 0 (found"),
        ("1 2 3", {}, [0, 1, 2], "3 arms, counted from 1 (found"),
        ("1 2 3", {"num_arms": 4, "arm_base": "0"}, [1, 2, 3], "4 arms, counted from 0 (as given"),
        ("1 2 4", {"num_arms": 4}, [0, 1, 3], "4 arms, counted from 1 (found"),
        ("0 0 0", {}, [0, 0, 0], "2 arms, counted from 0 (found"),
        ("b a b", {}, [1, 0, 1], "2 arms by name, in the order a, b (found"),
        ("2 3 2", {"arm_base": "names"}, [0, 1, 0], "2 arms by name, in the order 2, 3 (as given"),
    ],
)
def test_arms_are_counted_from_zero_or_one_or_have_names(tmp_path, arms, options, expected, note):
    lines = [f"a,1,{trial},{arm},1" for trial, arm in enumerate(arms.split())]
    found = read_choices(written(tmp_path, HEADER + "\n".join(lines) + "\n"), **options)
    assert found["a"].choices.tolist() == [expected]
    assert note in found.notes[0]


def test_uneven_episodes_and_trials_left_out_are_missed_trials(tmp_path):
    path = written(tmp_path, HEADER + "a,1,1,0,1\na,1,4,1,1\na,2,1,1,0\nb,1,9,0,1\nb,1,10,na,\n")
    found = read_choices(path)
    assert found["a"].choices.tolist() == [[0, MISSED, MISSED, 1], [1, MISSED, MISSED, MISSED]]
    assert found["b"].choices.tolist() == [[0, MISSED]]
    assert found.notes[1:] == (
        "2 subjects, 1 to 2 episodes each, of 1 to 4 trials; 4 choices in all",
        "3 trials without a choice, 2 of them without a row: nothing is learned from them, but time goes on",
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "subject,trial,choice,reward\n",
            "got no column 'episode' among .*, expected columns .*; name yours by --columns episode=NAME",
        ),
        ("subject,episodes,trial,choice,reward\n", "did you mean 'episodes'"),
        (HEADER, "got no rows, expected one per trial"),
        ("", "got an empty file, expected a line of column names"),
        (HEADER + "a,1,1,0\n", "line 2: got no reward, expected one field for each column"),
        (HEADER + ",1,1,0,1\n", "line 2: got no subject, expected one field"),
        (HEADER.replace("trial", "trial,trial"), "got 2 column 'trial' among"),
        (HEADER + "a,1,1,2,0,53\n", "line 2: got 1 fields more than columns, .*; separate with commas, write decimals"),
        ("choice,trial,reward,subject,episode\n0,1,1\n", "line 2: got no subject, expected one field"),
        (HEADER + f"a,1,1,0,{'1' * 200_000}\n", "field larger than field limit .* expected short fields"),
        (HEADER + "a,1,1,0.5,1\n", "line 2: choice: got '0.5', expected a whole number from 0 to 3"),
        (HEADER + "a,1,1,0,1\na,1,2,4,1\n", "line 3: choice: got '4', .* from 0 to 3; say how arms are counted"),
        (HEADER + "a,1,1,0,1\na,1,2,left,1\n", "line 3: choice: got 'left', expected a whole number from 0 to 3"),
        (
            HEADER + "".join(f"a,1,{t},{arm},1\n" for t, arm in enumerate("abcde")),
            "line 6: choice: got 'e', .* 4 names",
        ),
        (HEADER + "a,1,one,3,1\n", "line 2: trial: got 'one', expected a whole number"),
        (HEADER + "a,1,1,0,nan\n", "line 2: reward: got 'nan', expected a finite number"),
        (HEADER + "a,1,1,,1\n", "got no choice at all, expected at least one; look at the column"),
        (HEADER + "a,1,2,0,1\na,1,2,0,1\n", "line 3: got trial 2 after trial 2 of the episode, expected the next one"),
        (HEADER + "a,1,2,0,1\na,1,5000,0,1\n", "line 3: got trial 5000 after trial 2 .*; sort the trials, or map"),
    ],
)
def test_a_table_that_is_none_costs_one_line(tmp_path, text, words):
    with pytest.raises(InputError, match=words) as caught:
        read_choices(written(tmp_path, text), num_arms=4)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"reward_scale": 0.0}, "reward_scale: got 0.0"),
        ({"num_arms": 1}, "num_arms: got 1"),
        ({"arm_base": "2"}, "arm base: got '2', expected one of auto, 0, 1, names"),
        (
            {"form": TableFormat({"subjekt": "a"})},
            "columns: got 'subjekt', expected some of .*; did you mean 'subject'",
        ),
        ({"form": TableFormat({"choice": ""})}, "columns: got no name for 'choice', expected one"),
    ],
)
def test_questions_that_make_no_sense_are_refused(tmp_path, arguments, words):
    with pytest.raises(InputError, match=words):
        read_choices(written(tmp_path, HEADER + "a,1,1,0,1\n"), **arguments)
    with pytest.raises(InputError, match="separator: got '#', expected auto or one of"):
        TableFormat(separator="#")
    with pytest.raises(InputError, match=r"cannot read .*: No such file .*, expected a table with a row"):
        read_choices(tmp_path / "nothing.csv")


@pytest.mark.parametrize("missed", ["", "NA", "nan", "-1", " "])
def test_a_missed_trial_may_be_written_in_several_ways(tmp_path, missed):
    found = read_choices(written(tmp_path, HEADER + f"ann,1,1,0,1\nann,1,2,{missed},7\n"), num_arms=2)["ann"]
    assert found.choices.tolist() == [[0, MISSED]]
    assert found.rewards.tolist() == [[1.0, 0.0]]


def test_choices_that_were_written_are_read_again(tmp_path):
    rng = generator(1, Purpose.STATISTICS)
    data = {name: Choices(rng.integers(-1, 3, (2, 20)), rng.normal(size=(2, 20)).round(6), 3) for name in ("x", "y")}
    write_choices(tmp_path / "out.csv", data)
    found = read_choices(tmp_path / "out.csv", num_arms=3)
    for name, one in data.items():
        np.testing.assert_array_equal(found[name].choices, one.choices)
        np.testing.assert_array_equal(found[name].rewards, np.where(one.choices < 0, 0.0, one.rewards))


@pytest.mark.parametrize("second", [True, False])
def test_two_step_trials_that_were_written_are_read_again(tmp_path, second):
    rng = generator(2, Purpose.STATISTICS)
    choices = rng.integers(-1, 2, (2, 60))
    seconds = np.where(rng.random((2, 60)) < 0.8, choices, 1 - choices) % 2
    data = TwoStepChoices(
        choices, seconds, rng.integers(2, size=(2, 60)) if second else None, rng.random((2, 60)).round(4)
    )
    write_two_step(tmp_path / "out.csv", {"a": data})
    form = TableFormat({} if second else {"second_choice": ""})
    found = read_two_step(tmp_path / "out.csv", form=form)["a"]
    for name in ("choices", "seconds", "second_choices", "rewards"):
        np.testing.assert_array_equal(getattr(found, name), getattr(data, name))


TWO_STEP = "subject,episode,trial,choice,state,second_choice,reward\n"


def test_the_common_transition_is_found_whatever_states_are_called(tmp_path):
    choices = [1, 2, 1, 2, 1, 2, 1, 1]
    states = [3, 2, 3, 2, 3, 2, 3, 2]  # the last one is rare
    lines = [f"a,1,{t},{c},{s},{1 + t % 2},1" for t, (c, s) in enumerate(zip(choices, states, strict=True))]
    found = read_two_step(written(tmp_path, TWO_STEP + "\n".join(lines) + "\na,1,8,1,3,,1\n"))
    data = found["a"]
    assert data.common.tolist() == [[True] * 7 + [False, False]]
    assert data.choices.tolist() == [[0, 1, 0, 1, 0, 1, 0, 0, MISSED]]
    assert data.num_trials == 8
    assert data.num_choices == 16
    assert "transitions taken for the common ones: 88% to 88%" in found.notes[-1]
    assert any("1 trials without a choice" in note for note in found.notes)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (
            "a,1,1,0,0,0,1\na,1,2,0,1,0,1\na,1,3,1,0,0,1\na,1,4,1,1,1,1\n",
            "subject 'a' led to one .* a common and a rare",
        ),
        ("a,1,1,0,0,0,1\na,1,2,2,1,0,1\n", "line 3: choice: got '2', expected a whole number from 0 to 1"),
        ("a,1,1,0,A,0,1\na,1,2,0,B,0,1\na,1,2,0,C,0,1\n", "line 4: state: got 'C', expected 2 names of arms, got 3"),
        ("a,1,1,0,,0,1\n", "got no trial with all of choice, state, second_choice"),
    ],
)
def test_a_table_of_another_task_costs_one_line(tmp_path, lines, words):
    with pytest.raises(InputError, match=words) as caught:
        read_two_step(written(tmp_path, TWO_STEP + lines))
    assert "\n" not in str(caught.value)
