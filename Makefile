.DEFAULT_GOAL := help
.PHONY: help run test vm lint bench bench-walk bench-sizing bench-rules chaos soak scale fuzz dashboards screenshots \
	docs lock dist sbom audit clean

PYTHON := .venv/bin/python

help:  ## list the commands
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

run:  ## set up all that is needed and run the exporter; flags in ARGS="--poll.interval=1s"
	@scripts/setup.sh run
	@exec $(PYTHON) -m exporter $(ARGS)

test:  ## run all tests against a Docker engine of their own (root); options in ARGS="-k traffic"
	@scripts/setup.sh test
	@$(PYTHON) -m pytest $(ARGS)

vm:  ## run the tests that need another kernel in a virtual machine (root); options in ARGS="-k quota"
	@scripts/setup.sh vm
	@tests/vm/run.sh $(ARGS)

lint:  ## check style, types, layers, rules and that generated files are current
	@scripts/setup.sh lint
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	promtool check rules deploy/prometheus/rules/*.yml deploy/prometheus/rules/optional/*.yml
	promtool test rules deploy/prometheus/tests/*.yml
	amtool check-config deploy/alertmanager/alertmanager.yml
	@for pair in critical=pager warning=tickets info=digest; do \
		amtool config routes test --config.file=deploy/alertmanager/alertmanager.yml \
			--verify.receivers=$${pair#*=} severity=$${pair%=*} || exit 1; done
	PYTHONPATH=. $(PYTHON) scripts/generate_docs.py --check
	.venv/bin/zizmor --quiet --offline .github
	set -e; for file in deploy/prometheus/examples/*.yml; do promtool check config --syntax-only $$file >/dev/null; done
	$(PYTHON) -m dashboards --check
	@! grep -nE -- '--(extra-)?index-url|--find-links|https?://' requirements/*.txt || \
		{ echo "a lock file names a registry" >&2; exit 1; }

bench:  ## measure beside 300 real containers; other numbers with ARGS="--containers 100"
	@scripts/setup.sh test
	PYTHONPATH=. $(PYTHON) bench/steady_state.py $(ARGS)

bench-walk:  ## measure walking volumes: a million files, 2,000 volumes
	@scripts/setup.sh test
	PYTHONPATH=. $(PYTHON) bench/walk.py $(ARGS)

bench-rules:  ## time the rules and the dashboards' queries on a day of 400 containers in a real Prometheus
	@scripts/setup.sh test
	PYTHONPATH=. $(PYTHON) bench/history.py $(ARGS)

chaos:  ## inject faults into a real engine beside a running exporter; prints a table
	@scripts/setup.sh test
	PYTHONPATH=. $(PYTHON) bench/chaos.py $(ARGS)

soak:  ## let containers come and go for half an hour beside a scraped exporter
	@scripts/setup.sh test
	PYTHONPATH=. $(PYTHON) bench/soak.py $(ARGS)

scale:  ## measure beside a fake engine with 10,000 containers, 200 networks and 2,000 volumes
	@scripts/setup.sh test
	PYTHONPATH=. $(PYTHON) bench/scale.py $(ARGS)

fuzz:  ## fuzz every parser and writer, guided by coverage; ARGS="--seconds 120 net_dev routes"
	@scripts/setup.sh fuzz
	PYTHONPATH=. $(PYTHON) bench/fuzz.py $(ARGS)

bench-sizing:  ## measure series per object, and their memory and disk in a real Prometheus
	@scripts/setup.sh test
	PYTHONPATH=. $(PYTHON) bench/sizing.py $(ARGS)

dashboards:  ## make the dashboards' JSON
	@scripts/setup.sh dev
	$(PYTHON) -m dashboards

screenshots:  ## draw the dashboards for docs/images with Grafana's components (npm); ARGS="--projects 100"
	@scripts/setup.sh screenshots
	$(PYTHON) -m tests.browser.screenshots $(ARGS)

docs:  ## make the reference pages in docs/ from the code
	@scripts/setup.sh dev
	PYTHONPATH=. $(PYTHON) scripts/generate_docs.py

lock:  ## resolve the dependencies again and pin them with hashes
	@scripts/setup.sh dev
	.venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-header -o requirements/runtime.txt pyproject.toml
	.venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-header --extra ssh --group dev -c requirements/runtime.txt -o requirements/dev.txt pyproject.toml
	.venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-header --extra ssh -c requirements/runtime.txt -o requirements/ssh.txt pyproject.toml
	.venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-header --group release -o requirements/release.txt
	.venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-header --group build -c requirements/dev.txt -o requirements/build.txt
	.venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-header --group pyproject.toml:fuzz -c requirements/dev.txt -o requirements/fuzz.txt

dist:  ## build wheel and sdist in dist/, the same bytes at each build of a commit
	@scripts/release.sh dist

sbom:  ## list what the wheel with its locked dependencies consists of: dist/netvol-exporter.cdx.json
	@scripts/release.sh sbom

audit:  ## ask for known vulnerabilities of the locked dependencies; fails where it can't ask
	@scripts/release.sh audit

clean:  ## remove what the commands made
	rm -rf .venv .build .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache dist
