import numpy as np

from model_store.answers.vector import VectorAnswer


def test_a_vector_is_a_list_of_numbers_that_float32_gets_back() -> None:
    vector = np.random.default_rng(0).standard_normal(16, dtype=np.float32)
    answer = VectorAnswer(size=16).answer({"embedding": vector[None]}, {}, None)
    np.testing.assert_array_equal(np.array(answer["vector"], np.float32), vector)
