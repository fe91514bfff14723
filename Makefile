# Every target in one line: make help. CI calls `make lint types test` and nothing else.

INSTALLED := .venv/.installed
BIN := .venv/bin
NAGAYA := $(BIN)/nagaya dev

.DEFAULT_GOAL := help
.PHONY: help demo up down status logs doctor test test-unit test-integration test-e2e lint types \
	protos protos-baseline docs site histories bench kills clean install lock version wheels

help: ## list every target
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-17s %s\n", $$1, $$2 }' Makefile

demo: $(INSTALLED) ## start the stack, run two tenants' article pipelines to the end, leave it up
	@$(NAGAYA) demo

up: $(INSTALLED) ## start the stack on this machine, its data kept; by TLS: make up TLS=1
	@$(NAGAYA) up $(if $(TLS),--tls)

down: $(INSTALLED) ## stop everything that up or demo started; data is kept
	@$(NAGAYA) down

status: $(INSTALLED) ## show each part: state, address, restarts
	@$(NAGAYA) status

logs: $(INSTALLED) ## show the log of all parts, or of one: make logs PART=runs
	@$(NAGAYA) logs $(PART)

doctor: $(INSTALLED) ## check what the stack needs of this machine
	@$(NAGAYA) doctor

# Most tests wait rather than compute: three processes keep two cores busy.
test: $(INSTALLED) ## run every test on real parts; one file: make test TESTS=tests/unit/x.py
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && \
		PYTEST_DEBUG_TEMPROOT="$$folder" $(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder \
		--max-worker-restart 0 $(or $(TESTS),tests)

test-unit: $(INSTALLED) ## run the tests that need no other process, and those of the contracts
	@$(BIN)/pytest tests/unit tests/contract

test-integration: $(INSTALLED) ## run the tests of one service at a time, on PostgreSQL, S3, Temporal
	@$(BIN)/pytest tests/integration

test-e2e: $(INSTALLED) ## run the tests of the whole stack, and those that break it; by TLS and OIDC: TLS=1
	@$(if $(TLS),NAGAYA_TEST_TLS=1 )$(BIN)/pytest tests/e2e $(if $(TLS),,tests/fault)

lint: $(INSTALLED) ## check style, contracts, import layers, sizes, words, and that stubs and pages are fresh
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/python protos/generate.py --check
	@$(BIN)/python -m docs.generate --check
	@$(BIN)/buf lint protos
	@$(BIN)/buf breaking protos --against protos/baseline.binpb
	@$(BIN)/lint-imports --no-logo --cache-dir .cache/import-linter
	@$(BIN)/python deploy/build/budgets.py
	@$(BIN)/python deploy/build/words.py
	@$(BIN)/python deploy/build/version.py --check

types: $(INSTALLED) ## check types, strictly
	@$(BIN)/basedpyright

protos: $(INSTALLED) ## generate protos/gen/python and clients/go/gen from protos/nagaya
	@$(BIN)/python protos/generate.py

protos-baseline: $(INSTALLED) ## accept the contracts as they are: for a release, and until v1 is out
	@$(BIN)/python protos/generate.py --baseline

docs: $(INSTALLED) ## generate pages of docs/, and envoy.json, from contracts and code
	@$(BIN)/python -m docs.generate

site: $(INSTALLED) ## build the documentation as a site, in var/docs/site
	@$(BIN)/python -m docs.site

histories: $(INSTALLED) ## record the histories that the next release must replay: for a release
	@$(BIN)/python -m tests.contract.record_histories

bench: $(INSTALLED) ## measure beside baselines; some of it: make bench PARTS="gateway runs"; see docs/performance.md
	@$(BIN)/python -m bench $(if $(MARKDOWN),--markdown $(MARKDOWN)) $(PARTS)

kills: $(INSTALLED) ## kill everything while it works, judge what is left; one part: make kills PARTS=gateway
	@$(BIN)/python -m bench.kills $(PARTS)

clean: $(INSTALLED) ## stop the stack and delete its data; asks first, YES=1 answers
	@$(NAGAYA) clean $(if $(YES),--yes)

install: $(INSTALLED) ## make .venv with everything in it

lock: ## refresh requirements.lock and deploy/locks; newest versions: make lock UPGRADE=1
	@deploy/build/lock $(if $(UPGRADE),--upgrade)

version: $(INSTALLED) ## write the version of the file VERSION to all parts
	@$(BIN)/python deploy/build/version.py

wheels: ## build dist/*.whl of all parts: docs/operations/pip.md
	@deploy/build/wheels

# A virtual environment holds its own address: in a clone that was moved it is made anew.
ifneq "$(shell cat $(INSTALLED) 2>/dev/null)" "$(CURDIR)"
.PHONY: $(INSTALLED)
endif
$(INSTALLED): requirements.lock deploy/build/install $(wildcard */*/pyproject.toml) \
		protos/gen/python/pyproject.toml
	@echo "installing into .venv (a minute, once) ..."
	@deploy/build/install
