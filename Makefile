# The whole developer interface. Each target sets up what it needs; python3 >= 3.11 is enough.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
# where uv is used: this machine's python3, and its trust store
export UV_PYTHON_DOWNLOADS := never
export UV_SYSTEM_CERTS := 1
# what is installed comes uncompiled, and would be compiled anew by each process of the tests
unexport PYTHONDONTWRITEBYTECODE
# Prefect's client would report how it is used
export DO_NOT_TRACK := 1

# a test waits for servers about as long as it computes
WORKERS = $(shell $(BIN)/python -c 'import os; print(min(4, os.cpu_count() + 1))')
PYTEST = $(BIN)/python -m pytest -n $(WORKERS)

.PHONY: help setup demo test leaks soak tour check bench export import bulk update appointments sandbox server deploy alerts worker run forget purge-runs check-account pages docs lock clean

# where Prefect's server is; an exported PREFECT_API_URL is stronger, but for `server`
PORT ?= 4200
deploy alerts worker run purge-runs check-account: export PREFECT_API_URL := $(or $(PREFECT_API_URL),http://127.0.0.1:$(PORT)/api)
# with -C (which shows as w among the flags) make is called from somewhere else
CALLED_FROM := $(if $(findstring w,$(firstword -$(MAKEFLAGS))),$(PWD),$(CURDIR))

help: ## what there is
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 15

setup: $(STAMP) ## build .venv from requirements.lock

$(STAMP): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "$(PYTHON) is older than 3.11; name another one: make setup PYTHON=python3.12"; exit 1; }
	@echo "Installing into .venv ..."
	@if command -v uv >/dev/null 2>&1; then \
	  uv venv --quiet --allow-existing --python $(PYTHON) .venv \
	  && uv pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock; \
	else \
	  $(PYTHON) -m venv .venv \
	  && sed -n '/^uv==/,/[^\\]$$/p' requirements.lock > .venv/uv.txt \
	  && { $(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes -r .venv/uv.txt \
	    && $(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock; } \
	  || $(BIN)/python -m pip install -qq --disable-pip-version-check --no-compile --require-hashes \
	    --no-deps -r requirements.lock; \
	fi
	@# so that a notebook of any folder finds the project
	@$(BIN)/python -c 'import sys, sysconfig as s, pathlib as p; \
	  (p.Path(s.get_path("purelib")) / "willsuite_flows.pth").write_text(sys.argv[1])' "$(CURDIR)"
	@touch $(STAMP)

demo: $(STAMP) ## import, change and export cases of a local WillSuite, show the results
	@$(BIN)/python demo.py

test: $(STAMP) ## run the tests; those that kill processes and start servers are in `make soak`
	$(PYTEST) --dist worksteal -m "not soak and not leaks"

leaks: $(STAMP) ## look for personal data in logs, files and all that Prefect records
	$(PYTEST) --dist loadfile --timeout=400 -m leaks

soak: export MINUTES := $(or $(MINUTES),2)
soak: export SEED := $(SEED)
soak: leaks ## the same; kill runs, machines, servers; the README's commands; campaigns (MINUTES=2 SEED=)
	$(PYTEST) --dist loadfile --timeout=400 -m soak

tour: $(STAMP) ## use the UI in a real browser (needs Debian's chromium), and take the pictures of docs/tour
	@[ -x .venv-tour/bin/pip ] || $(PYTHON) -m venv .venv-tour
	@.venv-tour/bin/pip install -qq --disable-pip-version-check "playwright>=1.60,<2"
	PYTHONPATH=$$(echo .venv-tour/lib/python3*/site-packages):tests $(BIN)/python -m pytest -x tests/tour/tour.py

check: $(STAMP) ## style, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP) ## the export and the import beside bare loops (some minutes)
	$(BIN)/python -m benchmarks.export
	$(BIN)/python -m benchmarks.import_cases

export: $(STAMP) ## export the account that the WILLSUITE_* variables or .env name
	@$(BIN)/python -m flows.export_cases

import: $(STAMP) ## import FILE=cases.csv into that account (PLAN=1: only say what would happen)
	@$(BIN)/python -m flows.import_cases "$(FILE)" $(if $(PLAN),--plan)

bulk: $(STAMP) ## change many cases by jobs: FILE=changes.csv (PLAN=1: only say what would change)
	@$(BIN)/python -m flows.bulk_update_cases "$(FILE)" $(if $(PLAN),--plan)

update: $(STAMP) ## change single cases, add customers: FILE=changes.csv (PLAN=1: as above)
	@$(BIN)/python -m flows.update_cases "$(FILE)" $(if $(PLAN),--plan)

appointments: $(STAMP) ## keep appointments in step with FILE=appointments.csv (PLAN=1: as above)
	@$(BIN)/python -m flows.sync_appointments "$(FILE)" $(if $(PLAN),--plan)

sandbox: $(STAMP) ## serve a local WillSuite on port 8080 until Ctrl-C
	@$(BIN)/python -m sandbox

server: $(STAMP) ## serve Prefect's UI and API until Ctrl-C, on PORT=4200
	@env -u PREFECT_API_URL PREFECT_SERVER_API_PORT=$(PORT) \
	  PREFECT_UI_URL=$(or $(PREFECT_UI_URL),http://127.0.0.1:$(PORT)) $(BIN)/prefect --no-prompt server start

deploy: $(STAMP) ## put the deployments of prefect.yaml into the server, and what they need
	@$(BIN)/python -m commands.deploy

alerts: $(STAMP) ## let BLOCK=slack-webhook/ops (made in the UI) be told of failed runs, missing exports, waiting plans
	@$(BIN)/python -m commands.alerts --block "$(BLOCK)" \
	  $(if $(EXPORT_HOURS),--export-hours "$(EXPORT_HOURS)") \
	  $(if $(APPROVAL_HOURS),--approval-hours "$(APPROVAL_HOURS)")

worker: $(STAMP) ## run what is due, until Ctrl-C
	@$(BIN)/python -m commands.worker

run: $(STAMP) ## start FLOW=import-cases/import-file FILE=cases.csv (PLAN=1 APPROVE=1 CONNECTION=name), follow it
	@$(BIN)/python -m commands.run --flow "$(FLOW)" --file "$(FILE)" --called-from "$(CALLED_FROM)" \
	  --connection "$(CONNECTION)" --run "$(RUN)" $(if $(PLAN),--plan) $(if $(APPROVE),--approve)

# in the environment, since everybody on the machine can read a command's arguments
forget: export FORGET_REF := $(value REF)
forget: export FORGET_CASE_ID := $(value CASE_ID)
forget: $(STAMP) ## remove a case from our files: REF=... or CASE_ID=... (a plan; APPLY=1 does it)
	@$(BIN)/python -m commands.forget --exports "$(or $(EXPORTS),data/exports)" \
	  --runs "$(or $(RUNS),data/runs)" --journal "$(or $(JOURNAL),data/journal)" \
	  $(if $(BOOKINGS),--bookings) $(if $(APPLY),--apply)

purge-runs: $(STAMP) ## delete runs OLDER_THAN=90d from Prefect (a plan; APPLY=1), their folders: FILES=1
	@$(BIN)/python -m commands.purge_runs --older-than "$(OLDER_THAN)" \
	  --runs "$(or $(RUNS),data/runs)" $(if $(FILES),--files) $(if $(APPLY),--apply)

check-account: $(STAMP) ## ask the account what the documents leave open (WRITE=case id: a case to change)
	@$(BIN)/python -m commands.check_account --connection "$(CONNECTION)" \
	  --output "$(or $(OUTPUT),data)" --write "$(WRITE)"

pages: $(STAMP) ## write docs/codes.md and docs/parameters.md anew, from the code
	@$(BIN)/python -m commands.codes
	@$(BIN)/python -m commands.parameters

docs: $(STAMP) ## make the pages a site, build/site; a broken link ends it
	@rm -rf build && mkdir -p build/pages
	@tar cf - README.md ARCHITECTURE.md CONTRIBUTING.md CHANGELOG.md LICENSE docs notebooks deploy \
	  data/samples/README.md sandbox/ASSUMPTIONS.md | tar xf - -C build/pages
	$(BIN)/zensical build --strict -f mkdocs.yml

lock: ## resolve requirements.lock anew
	@[ -x .venv-lock/bin/uv ] || { $(PYTHON) -m venv .venv-lock \
	  && .venv-lock/bin/python -m pip install -qq --disable-pip-version-check "uv>=0.9"; }
	.venv-lock/bin/uv pip compile pyproject.toml --group dev --universal \
	  --python-version 3.11 --generate-hashes --no-emit-index-url --quiet --upgrade \
	  --custom-compile-command "make lock" -o requirements.lock

clean: ## remove the virtual environments and the demo's data
	rm -rf .venv .venv-lock .venv-tour build data/demo
