from prometheus_client.parser import text_string_to_metric_families

from exporter import __version__
from exporter.metrics.instruments import Instruments
from exporter.metrics.page import Format, make_page


def test_build_process_and_requests_are_on_the_page() -> None:
    instruments = Instruments("abc")
    instruments.observe_request("ping", 0.02)
    instruments.scrapes["200"] += 1
    instruments.page_bytes, instruments.page_series = 100, 5
    instruments.read_process()
    text = make_page(instruments.samples()).in_format(Format.TEXT).decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    [build] = families["netvol_exporter_build_info"].samples
    assert (build.labels["version"], build.labels["revision"]) == (__version__, "abc")
    assert families["process_resident_memory_bytes"].samples[0].value > 1_000_000
    assert families["process_cpu_seconds"].type == "counter"
    count = [s for s in families["docker_engine_request_duration_seconds"].samples if s.name.endswith("_count")]
    assert [(s.labels["endpoint"], s.value) for s in count] == [("ping", 1)]
    assert not any("created" in name for name in families)
