from __future__ import annotations

import os
import signal
import sys

import pytest
import trio

from mra.errors import BadInput, Unavailable
from mra.machines import process
from tests.machines.processes import children, is_alive, is_known, pids_in, wait_for, wait_gone

SHELL = "/bin/sh"


async def run(script, tmp_path, patience=20.0, **environment):
    return await process.run([SHELL, "-c", script], directory=tmp_path, environment=environment, patience=patience)


async def test_both_outputs_arrive_in_one_with_the_exit_code(tmp_path):
    finished = await run("echo out; echo err >&2; exit 3", tmp_path)
    assert (finished.code, finished.output) == (3, b"out\nerr\n")
    assert finished.trouble == "the command ended with exit code 3"
    assert (await run("true", tmp_path)).trouble == ""


async def test_the_environment_is_exactly_what_was_given(tmp_path):
    words = [sys.executable, "-c", "import os; print(sorted(set(os.environ) - {'LC_CTYPE'}))"]
    finished = await process.run(words, directory=tmp_path, environment={"A": "1"}, patience=20)
    assert finished.output == b"['A']\n"


async def test_a_command_runs_in_its_directory_with_no_input(tmp_path):
    assert (await run("pwd; cat", tmp_path)).output.decode().strip() == str(tmp_path)


async def test_a_program_with_a_slash_is_relative_to_the_directory(tmp_path):
    (tmp_path / "probe.sh").write_text("#!/bin/sh\necho here\n")
    (tmp_path / "probe.sh").chmod(0o700)
    finished = await process.run(["./probe.sh"], directory=tmp_path, environment={}, patience=20)
    assert finished.output == b"here\n"


async def test_a_bare_name_is_looked_up_in_the_agents_path_and_nowhere_else(tmp_path):
    (tmp_path / "probe-of-this-test").write_text("#!/bin/sh\n")
    (tmp_path / "probe-of-this-test").chmod(0o700)
    with pytest.raises(Unavailable, match="no program 'probe-of-this-test' in the agent's PATH"):
        await process.run(["probe-of-this-test"], directory=tmp_path, environment={"PATH": str(tmp_path)}, patience=20)
    found = await process.run(
        ["probe-of-this-test"], directory=tmp_path, environment={}, patience=20, path=str(tmp_path)
    )
    assert found.code == 0


@pytest.mark.parametrize("words", [[], [""]])
async def test_an_empty_command_is_refused(tmp_path, words):
    with pytest.raises(BadInput, match="empty"):
        await process.run(words, directory=tmp_path, environment={}, patience=20)


@pytest.mark.parametrize("words", [["./absent"], ["./text"], ["/bin/sh", "\x00"], ["./a\ud800"]])
async def test_what_cannot_be_started_says_so_in_one_sentence(tmp_path, words):
    (tmp_path / "text").write_text("no program\n")
    with pytest.raises(Unavailable, match="cannot be started"):
        await process.run(words, directory=tmp_path, environment={}, patience=20)


async def test_a_directory_that_is_gone_is_named(tmp_path):
    with pytest.raises(Unavailable, match=r"cannot be started in .*/gone"):
        await process.run(["/bin/sh"], directory=tmp_path / "gone", environment={}, patience=20)


async def test_at_the_end_of_its_time_the_whole_group_is_killed(tmp_path):
    script = f"trap '' TERM; echo $$ > {tmp_path}/pids; (trap '' TERM; sleep 300) & echo $! >> {tmp_path}/pids; wait"
    finished = await run(script, tmp_path, patience=0.5)
    assert finished.timed_out
    assert finished.code == -signal.SIGKILL
    assert "its time was up" in finished.trouble
    await wait_gone(*await pids_in(tmp_path / "pids", 2))


async def test_cancelling_leaves_no_process(tmp_path):
    script = f"trap '' TERM; echo $$ > {tmp_path}/pids; sleep 300 & echo $! >> {tmp_path}/pids; wait"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, script, tmp_path, 60.0)
        pids = await pids_in(tmp_path / "pids", 2)
        nursery.cancel_scope.cancel()
    await wait_gone(*pids)


async def test_a_grandchild_that_holds_the_pipe_delays_the_end_and_is_killed_with_the_time(tmp_path):
    finished = await run(f"sleep 300 & echo $! > {tmp_path}/pids; echo done", tmp_path, patience=0.5)
    assert (finished.code, finished.output, finished.timed_out) == (0, b"done\n", False)
    await wait_gone(*await pids_in(tmp_path / "pids", 1))


async def test_a_grandchild_in_a_session_of_its_own_does_not_hold_up_the_end(tmp_path):
    finished = await run(f"setsid sleep 300 & echo $! > {tmp_path}/pids", tmp_path, patience=0.5)
    (pid,) = await pids_in(tmp_path / "pids", 1)
    assert finished.code == 0
    assert is_alive(pid)
    os.kill(pid, signal.SIGKILL)


async def test_a_background_process_that_lets_go_of_the_pipe_is_left_alone(tmp_path):
    finished = await run(f"sleep 300 > /dev/null 2>&1 & echo $! > {tmp_path}/pids", tmp_path)
    (pid,) = await pids_in(tmp_path / "pids", 1)
    try:
        assert finished.code == 0
        assert is_alive(pid)
    finally:
        os.kill(pid, signal.SIGKILL)


async def test_a_flood_is_cut_off_at_the_limit_and_the_command_still_ends(tmp_path):
    finished = await run("head -c 3000000 /dev/zero; exit 4", tmp_path)
    assert (len(finished.output), finished.truncated, finished.code) == (process.MOST_OUTPUT, True, 4)
    assert not (await run(f"head -c {process.MOST_OUTPUT} /dev/zero", tmp_path)).truncated


async def test_an_endless_flood_ends_with_its_time(tmp_path):
    finished = await run("exec cat /dev/zero", tmp_path, patience=0.5)
    assert (finished.timed_out, finished.truncated) == (True, True)


async def test_a_command_that_closes_its_outputs_is_still_waited_for(tmp_path):
    finished = await run("exec >&- 2>&-; sleep 0.2; exit 7", tmp_path)
    assert finished.code == 7


async def test_death_by_signal_is_told_apart_from_a_timeout(tmp_path):
    finished = await run("kill -9 $$", tmp_path)
    assert (finished.code, finished.timed_out, finished.trouble) == (-9, False, "the command was ended by signal 9")


async def test_no_descriptor_or_zombie_stays_behind(tmp_path):
    await run("true", tmp_path)
    before = len(os.listdir("/proc/self/fd"))
    for script in ("true", "exit 1", "sleep 300"):
        await run(script, tmp_path, patience=0.2)
    assert len(os.listdir("/proc/self/fd")) == before
    assert children() == set()


async def test_a_detached_command_outlives_its_caller(tmp_path):
    script = f"echo $$ > {tmp_path}/pids; exec sleep 300"
    async with trio.open_nursery() as nursery:

        async def detached():
            await process.run_detached([SHELL, "-c", script], directory=tmp_path, environment={})

        nursery.start_soon(detached)
        (pid,) = await pids_in(tmp_path / "pids", 1)
        nursery.cancel_scope.cancel()
    assert is_alive(pid)
    os.kill(pid, signal.SIGKILL)
    await wait_for(lambda: not is_known(pid))  # reaped, not only dead


async def test_a_detached_command_is_waited_for(tmp_path):
    finished = await process.run_detached([SHELL, "-c", "echo lost; exit 2"], directory=tmp_path, environment={})
    assert (finished.code, finished.output) == (2, b"")
