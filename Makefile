# `make` alone prints the targets.
.DEFAULT_GOAL := help
.PHONY: help demo demo-down run test e2e bench fuzz images generate lint clean

help: ## Print the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1#\2/p' $(MAKEFILE_LIST) | column -t -s '#'

demo: ## A Kubernetes cluster, the operator, a gateway that answers curl
	@scripts/demo up

demo-down: ## Remove what demo made
	@scripts/demo down

run: ## Just a gateway with a Redis of its own on this machine, at localhost:3000
	@scripts/run

test: ## Every check and every test, a Kubernetes cluster included
	@scripts/test

e2e: ## Only the end-to-end tests on the cluster
	@scripts/test e2e

bench: ## Measure, and try the API; writes docs/src/benchmarks.md. ONLY="sockets operator" for some of bench/
	@set -e; for part in $(or $(ONLY),run sockets security slow operator rollouts cost schemathesis); do bench/$$part; done

fuzz: ## Try inputs that nobody thought of: FUZZ_SECONDS=20 for each target
	@fuzz/run

images: ## Container images of gateway and operator
	@scripts/tools docker && images/build

generate: ## Write all generated files anew
	@scripts/generate

lint: ## Formatting, clippy, licences and advisories, generated files
	@scripts/test lint

clean: ## Remove what was built in this checkout
	@cargo clean
