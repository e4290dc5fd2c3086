"""Features that are kept: found by their picture alone, whatever happens to the file."""

import numpy as np

from pix2pix_jax.metrics.feature_cache import FeatureCache, place

PICTURES = np.random.default_rng(0).integers(0, 256, (4, 5, 6, 3), np.uint8)
FEATURES = np.random.default_rng(1).normal(size=(4, 7)).astype(np.float32)


def filled(path):
    cache = FeatureCache(path)
    cache.put(PICTURES[:3], FEATURES[:3])
    cache.save()
    return path


def test_features_come_back_from_the_file(tmp_path):
    cache = FeatureCache(filled(tmp_path / "deep" / "features.npz"))
    np.testing.assert_array_equal(cache.get(PICTURES[[2, 0]]), FEATURES[[2, 0]])
    assert cache.get(PICTURES[2:]) is None  # one of them is new
    assert cache.get(PICTURES[:1, :, ::-1]) is None and cache.get(PICTURES[:1].reshape(1, 6, 5, 3)) is None
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["features.npz"]


def test_a_damaged_file_is_as_none(tmp_path):
    path = filled(tmp_path / "features.npz")
    whole = path.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], b"x" * len(whole)):
        path.write_bytes(damaged)
        assert FeatureCache(path).get(PICTURES[:1]) is None
    np.savez(path, digests=np.zeros((3, 32), np.uint8), features=np.array([{}], object))
    assert FeatureCache(path).get(PICTURES[:1]) is None


def test_a_place_that_cannot_be_written_is_done_without(tmp_path):
    (tmp_path / "file").write_text("")
    cache = FeatureCache(filled(tmp_path / "file" / "features.npz"))
    assert cache.get(PICTURES) is None


def test_in_memory_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cache = FeatureCache(None)
    cache.put(PICTURES, FEATURES)
    cache.save()
    np.testing.assert_array_equal(cache.get(PICTURES), FEATURES)
    assert not list(tmp_path.iterdir())


def test_another_key_is_another_place(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    places = {place(*key) for key in (("a", "bc"), ("ab", "c"), ("a", "b", "c"), ("../a", "/b"))}
    assert len(places) == 4 and {path.parent for path in places} == {tmp_path / "pix2pix_jax" / "features"}
