from exporter.web.status import StatusRow, render_status


def test_the_page_links_the_metrics_and_shows_the_rows() -> None:
    html = render_status(
        "1.2.3",
        "/m",
        [StatusRow("Docker engine", "up", healthy=True), StatusRow("Stream", "closed", healthy=False)],
    )
    assert '<a href="/m">Metrics</a>' in html
    assert '<td class="fine">up</td>' in html
    assert '<td class="lack">closed</td>' in html
    assert "version 1.2.3" in html


def test_nothing_from_outside_becomes_markup() -> None:
    html = render_status("<b>", '/"><script>', [StatusRow("<i>", "<script>alert(1)</script>")])
    assert "<script>" not in html
    assert "<i>" not in html


def test_what_utf_8_cannot_hold_does_not_end_the_page() -> None:
    render_status("1", "/metrics", [StatusRow("Docker engine", "version \ud800")]).encode()
