from verifier.system import processor

X86 = """processor\t: 0
model name\t: A processor
flags\t\t: fpu vme avx512f avx512_bf16
bugs\t\t: some

processor\t: 1
flags\t\t: fpu vme avx512f avx512_bf16
"""
ARM = "processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd bf16\n"


def test_instruction_sets_are_those_that_the_system_names(tmp_path):
    file = tmp_path / "cpuinfo"
    file.write_text(X86)
    assert processor.features(file) == {"fpu", "vme", "avx512f", "avx512_bf16"}
    file.write_text(ARM)
    assert processor.features(file) == {"fp", "asimd", "bf16"}


def test_a_system_that_names_none_has_none(tmp_path):
    assert processor.features(tmp_path / "missing") == set()
    (tmp_path / "empty").write_text("processor\t: 0\n")
    assert processor.features(tmp_path / "empty") == set()
