import pytest
import rendering


def pytest_generate_tests(metafunc):
    if "kubectl" in metafunc.fixturenames:
        metafunc.parametrize("kubectl", rendering.kubectls())
    if "rendered" in metafunc.fixturenames:
        names = [f"overlays/{name}" for name in rendering.OVERLAYS] + list(rendering.COMBINATIONS)
        metafunc.parametrize("rendered", names, indirect=True)


@pytest.fixture
def rendered(request):
    """Every overlay and every combination, one after the other."""
    kind, _, name = request.param.partition("/")
    if kind == "overlays":
        return rendering.overlay(name)
    return rendering.combination(rendering.COMBINATIONS[request.param])
