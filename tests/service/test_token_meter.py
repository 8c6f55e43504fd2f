"""What a scrape says of a decoder's meter."""

from service.token_meter import TokenMeter, collect


def test_scrape_says_what_was_observed() -> None:
    meter = TokenMeter()
    meter.first_s.observe(0.003)
    meter.first_s.observe(100)
    meter.prompt_tokens.observe(7)
    meter.said_tokens.observe(5)
    meter.finished["stop"] += 2
    meter.running, meter.waiting = (lambda: 3), (lambda: 4)
    meter.cache_use, meter.prefixes = (lambda: 0.25), (lambda: (20, 16))
    samples = {
        (sample.name.removeprefix("modelhub_"), *sample.labels.values()): sample.value
        for metric in collect({("poet", "2"): meter})
        for sample in metric.samples
    }
    expected = {
        ("time_to_first_token_seconds_bucket", "poet", "2", "0.0025"): 0,
        ("time_to_first_token_seconds_bucket", "poet", "2", "0.005"): 1,
        ("time_to_first_token_seconds_bucket", "poet", "2", "80.0"): 1,
        ("time_to_first_token_seconds_bucket", "poet", "2", "+Inf"): 2,
        ("time_to_first_token_seconds_count", "poet", "2"): 2,
        ("sequences_running", "poet", "2"): 3,
        ("sequences_waiting", "poet", "2"): 4,
        ("kv_cache_usage_ratio", "poet", "2"): 0.25,
        ("prompt_tokens_total", "poet", "2"): 7,
        ("generation_tokens_total", "poet", "2"): 5,
        ("prefix_cache_queries_total", "poet", "2"): 20,
        ("prefix_cache_hits_total", "poet", "2"): 16,
        ("sequences_finished_total", "poet", "2", "stop"): 2,
        ("sequences_finished_total", "poet", "2", "length"): 0,
    }
    assert {key: samples[key] for key in expected} == expected
