"""Set-up steps: done once, done again when interrupted or changed, one line when impossible."""

import importlib
import runpy
import sys
from pathlib import Path

import pytest

TOOLS = str(Path(__file__).parents[2] / 'tools')


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch):
    """The two set-up tools, which are scripts side by side."""
    monkeypatch.syspath_prepend(TOOLS)
    return importlib.import_module('setup_env'), importlib.import_module('build_mmcv')


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    """A folder that looks enough like an environment for steps that run Python."""
    (tmp_path / 'bin').mkdir()
    (tmp_path / 'bin' / 'python').symlink_to(sys.executable)
    return tmp_path


def appending_step(setup_env, log: Path, text: str, replaces=None):
    code = f'open({str(log)!r}, "a").write({text!r})'
    return setup_env.Step(f'step-{text}', text, ('python', '-c', code), replaces=replaces)


def test_a_step_runs_once(tools, venv: Path) -> None:
    setup_env, _ = tools
    log = venv / 'log'
    for _ in range(2):
        setup_env.run_step(appending_step(setup_env, log, 'a'), venv, '[1/1]')
    assert log.read_text() == 'a'


def test_a_terminal_shows_one_line_of_a_step(tools, monkeypatch, capsys) -> None:
    setup_env, _ = tools
    monkeypatch.setattr(sys.stdout, 'isatty', lambda: True, raising=False)
    monkeypatch.setenv('COLUMNS', '40')
    code = 'for i in range(50): print("collecting", "x" * i)'
    assert setup_env.run([sys.executable, '-c', code], '[1/1] packages') == 0
    shown = capsys.readouterr().out
    assert shown.count('\n') == 1 and '[1/1] packages: collecting xxx' in shown
    assert max(len(part) for part in shown.split('\r\x1b[K')) < 40
    # What went wrong is shown whole.
    code = 'import sys; print("one"); sys.exit("two")'
    assert setup_env.run([sys.executable, '-c', code], '[1/1] packages') == 1
    assert 'one\ntwo\n' in capsys.readouterr().out


def test_a_changed_step_runs_again(tools, venv: Path) -> None:
    setup_env, _ = tools
    log = venv / 'log'
    setup_env.run_step(appending_step(setup_env, log, 'a'), venv, '[1/1]')
    changed = setup_env.Step(
        'step-a', 'a', ('python', '-c', f'open({str(log)!r}, "a").write("b")')
    )
    setup_env.run_step(changed, venv, '[1/1]')
    assert log.read_text() == 'ab'


def test_a_failed_step_stops_the_set_up_and_is_tried_again(tools, venv: Path) -> None:
    setup_env, _ = tools
    marker = venv / 'marker'
    code = f'import sys; sys.exit(not __import__("os").path.exists({str(marker)!r}))'
    step = setup_env.Step('flaky', 'a step', ('python', '-c', code))
    with pytest.raises(SystemExit, match='a step: failed'):
        setup_env.run_step(step, venv, '[1/1]')
    marker.touch()
    setup_env.run_step(step, venv, '[1/1]')
    assert (venv / '.stamps' / 'flaky').exists()


def test_a_replacing_step_makes_the_replaced_one_needless(tools, venv: Path) -> None:
    setup_env, _ = tools
    log = venv / 'log'
    plain = appending_step(setup_env, log, 'a')
    setup_env.run_step(appending_step(setup_env, log, 'b', replaces=plain), venv, '[1/1]')
    setup_env.run_step(plain, venv, '[1/1]')
    assert log.read_text() == 'b'


def test_an_interrupted_replacing_step_voids_the_replaced_one(tools, venv: Path) -> None:
    setup_env, _ = tools
    log = venv / 'log'
    plain = appending_step(setup_env, log, 'a')
    setup_env.run_step(plain, venv, '[1/1]')
    broken = setup_env.Step('broken', 'x', ('python', '-c', 'exit(1)'), replaces=plain)
    with pytest.raises(SystemExit):
        setup_env.run_step(broken, venv, '[1/1]')
    setup_env.run_step(plain, venv, '[1/1]')
    assert log.read_text() == 'aa'


def test_each_environment_contains_the_smaller_one(tools) -> None:
    setup_env, _ = tools
    names = ('demo', 'lint', 'fast', 'test')
    demo, lint, fast, test = (set(setup_env.ENVIRONMENTS[name]) for name in names)
    assert demo < lint < fast < test
    assert len({step.name for step in test}) == len(test)
    for step in test:
        step.content()


def test_another_torch_means_other_operators(tools, monkeypatch: pytest.MonkeyPatch) -> None:
    def stamps(torch: str) -> set[tuple[str, str]]:
        monkeypatch.setenv('TORCH', torch)
        module = runpy.run_path(f'{TOOLS}/setup_env.py', run_name='fresh_setup_env')
        return {(step.name, step.content()) for step in module['ENVIRONMENTS']['test']}

    changed = stamps('torch==2.13.0') - stamps('torch==2.12.0')
    assert {name for name, _ in changed} == {'torch', 'mmcv-ops'}


def test_progress_reads_a_verbose_ninja_build(tools) -> None:
    _, build_mmcv = tools
    times = iter([100.0, 110.0, 190.0])
    progress = build_mmcv.Progress(clock=lambda: next(times))
    assert progress.read('  copying a.py -> build') is None
    assert progress.read('  running build_ext') is None
    assert progress.read('building mmcv._ext [1/2] ') is None
    first = progress.read('  [1/78] c++ -MMD -MF /tmp/a.o.d -c a.cpp')
    assert first == 'compiling mmcv: 1 of 78 files, 0:10 elapsed, about 12:50 left'
    half = progress.read('  [39/78] c++ -MMD -MF /tmp/b.o.d -c b.cpp')
    assert half == 'compiling mmcv: 39 of 78 files, 1:30 elapsed, about 1:30 left'


def test_a_kept_wheel_is_reused_without_a_compiler(tools, tmp_path, monkeypatch, capsys) -> None:
    _, build_mmcv = tools
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    monkeypatch.setenv('CXX', str(tmp_path / 'no-compiler'))
    assert 'apt-get install g++' in build_mmcv.missing_prerequisite()

    folder = build_mmcv.cache_root() / build_mmcv.cache_key('2.13.0+cpu')
    folder.mkdir(parents=True)
    wheel = folder / 'onedl_mmcv-2.3.6-cp311-cp311-linux_x86_64.whl'
    wheel.touch()
    assert build_mmcv.missing_prerequisite() is None
    assert build_mmcv.build(folder) == wheel
    assert 'reusing' in capsys.readouterr().out


def test_wheels_of_different_torches_are_kept_apart(tools) -> None:
    _, build_mmcv = tools
    assert build_mmcv.cache_key('2.13.0+cpu') != build_mmcv.cache_key('2.13.0')


def test_newer_torch_gets_the_cpp_that_its_headers_ask_for(tools) -> None:
    _, build_mmcv = tools
    setup = "extra_compile_args['cxx'] = ['-Wall', '-std=c++17']\n"
    assert build_mmcv.with_standard(setup, '2.13.0+cpu') == setup
    assert build_mmcv.with_standard(setup, '2.1.2') == setup
    assert build_mmcv.with_standard(setup, '2.14.1') == setup.replace('17', '20')
