# HealKV. `make help` lists the targets.

GO       ?= go
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS  := -X main.version=$(VERSION)
OUT      ?= out/demo
BENCHTIME ?= 200ms
FUZZINPUTS ?= 20000
SOAKTIME  ?= 10m
CHAOSTIME ?= 30m
CHAOSFAULTS ?= 300
LABRESETS ?= 3
ENDURETIME ?= 30m
MATRIXSHARE ?= 1
DAMAGESHARE ?= 1
PEERS     ?=
COST      ?=
REDISBENCH ?=
MEASURE   ?=
FAILOVERTIMES ?= 3

# A clone made by another user (CI) must build too: the version comes from git
# describe above, so Go need not ask git again.
export GOFLAGS += -buildvcs=false

# The verbs provider needs libibverbs; where it is missing, asking for verbs is
# an error that says so.
VERBS = $(shell pkg-config --exists libibverbs 2>/dev/null && echo verbs)
GOFLAGS += $(if $(VERBS),-tags=verbs)
# bin/node is built without C, so that it starts without the dynamic linker and
# C's threads, and hands over to bin/node-verbs where verbs is asked for.
comma := ,

# Types that live in mapped memory are raced on their Go-heap backings, which
# these packages' tests choose under -race: the detector is blind in mappings.
RACE := . ./bench/... ./cmd/... ./dataplane/... ./heal/... ./pmem/... ./rdma/...
BENCH := ./dataplane/... ./pmem/... ./rdma/... ./heal/...

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.PHONY: build
build: ## bin/node, and bin/node-verbs where there is libibverbs
	CGO_ENABLED=0 $(GO) build -tags= -pgo=cmd/node/node.pgo -ldflags '$(LDFLAGS)' -o bin/node ./cmd/node
	$(if $(VERBS),CGO_ENABLED=1 $(GO) build -pgo=cmd/node/node.pgo -ldflags '$(LDFLAGS)' -o bin/node-verbs ./cmd/node,rm -f bin/node-verbs)

.PHONY: profile
profile: build ## the profile that guides the compiler, cmd/node/node.pgo, taken anew (two minutes)
	sh scripts/profile.sh

.PHONY: demo
demo: build ## six processes, a killed node, its recovery, and the report in out/demo
	bin/node demo --out $(OUT)

.PHONY: test
test: needs tidy unit race process ## everything a change must pass, within 15 minutes

.PHONY: needs
needs: ## install what the tests use (Debian packages, as root) or say what is missing
	@sh scripts/needs.sh
	@$(GO) mod download
	@$(GO) mod download -C scripts/tools

.PHONY: tidy
tidy: ## formatting, vet, staticcheck, import rules
	$(GO) test -count=1 ./scripts/tidy

.PHONY: unit
unit: ## unit tests, fuzz seeds included
	$(GO) test -timeout 10m $$($(GO) list ./... | grep -v /scripts/tidy)

.PHONY: race
race: ## tests under the race detector
	$(GO) test -race -short -timeout 10m $(RACE)

DIGESTKEYS ?= 1000000
.PHONY: digests
digests: build ## six nodes, DIGESTKEYS keys (a million), what a killed node missed forgotten by all: it heals by comparing digests
	$(GO) test -tags=process -count=1 -v -timeout 14m -run '^TestProcessComparesDigests$$' ./cmd/node -digest.keys $(DIGESTKEYS)

.PHONY: process
process: build ## tests with real node processes (make verify has those under chaos)
	$(GO) test -tags=process$(if $(VERBS),$(comma)verbs) -count=1 -p 1 -timeout 14m -run '^TestProcess' -skip '^TestProcessChaos' ./...

.PHONY: netns
netns: build ## six nodes on six hosts (network namespaces) over TCP, their links cut and healed; as root
	-@sh scripts/needs.sh netns
	$(GO) test -tags=process$(if $(VERBS),$(comma)verbs) -count=1 -v -timeout 10m -run '^TestNetns' ./bench/netns -netns.node $(CURDIR)/bin/node -netns.required

.PHONY: fuzz
fuzz: ## every fuzz target with FUZZINPUTS inputs
	@GO=$(GO) sh scripts/fuzz.sh $(FUZZINPUTS)

.PHONY: verify
verify: needs build ## specification, explorer, simulations, crash states, planted bugs, real cluster; with a summary (VERIFY="-scale 10")
	@sh scripts/needs.sh verify
	$(GO) run ./bench/verify -go $(GO) $(VERIFY)

.PHONY: lab-test
lab-test: ## Soft-RoCE, DAX and hard resets in a virtual machine (LABRESETS=20 for the full run)
	@GO=$(GO) sh scripts/lab/test.sh $(LABRESETS)

.PHONY: chaos
chaos: build ## half an hour of faults on clusters of real processes, each judged
	bin/node chaos --out out/chaos --time $(CHAOSTIME) --faults $(CHAOSFAULTS)

.PHONY: matrix
matrix: build ## the whole fault matrix: every cell in the simulator, then on real processes (MATRIXSHARE=0.1 for a tenth of those); out/matrix
	@echo "two cores: about 3 minutes in the simulator, then about 50 on processes, or MATRIXSHARE ($(MATRIXSHARE)) of that"
	$(GO) test -count=1 -timeout 20m -run TestMatrix ./heal/simulation -sim.matrix 1 -sim.parallel 2 -sim.matrix-out $(CURDIR)/out/matrix
	bin/node chaos --matrix --share $(MATRIXSHARE) --out out/matrix --keep-going

.PHONY: damage
damage: build ## the damage matrix: 1 600 cells of six nodes whose files are hurt (DAMAGESHARE=0.04 for a part); out/damage
	bin/node damage --out out/damage --share $(DAMAGESHARE) --quiet

.PHONY: bits
bits: ## every single bit of a pool of 1 MiB flipped under reads (8.4 million), and half a million before an opening, with and without its index
	$(GO) test -count=1 -v -timeout 30m -run '^TestEveryBit' ./pmem -pmem.bits all

.PHONY: failover
failover: build ## stall per kind of fault, rolling restart, all killed: judged, in out/failover, about 3 minutes (FAILOVERTIMES=10, FAILOVER="--rate 60000")
	@sh scripts/failover.sh bin/node $(FAILOVERTIMES) $(FAILOVER)

.PHONY: soak
soak: build ## six saturated nodes for SOAKTIME: no view change, no lost lease
	bin/node bench --out out/soak --workload write-only --keys 100000 --time $(SOAKTIME) --runs 1 --expect-epoch-stable

.PHONY: endure
endure: build ## pools of twice the live data overwritten for ENDURETIME, a node killed and healed in the middle, judged; out/endure (ENDURE="--domain file --keys 1000000")
	bin/node endure --out out/endure --time $(ENDURETIME) $(ENDURE)

.PHONY: cost
cost: build ## what recoveries cost the live nodes: open loop at half of saturation, budgets at saturation, a core to spare: judged, in out/cost, about 5 minutes (COST="--heals 10")
	bin/node cost --out out/cost --check $(COST)

.PHONY: bench
bench: build bin/peers ## floors, product and peers into docs/measurements.md: about 20 minutes, on a machine that does nothing else (MEASURE="-only floors,load" for parts)
	$(GO) run ./bench/measure -go $(GO) $(MEASURE)

.PHONY: bench-micro
bench-micro: ## all micro-benchmarks
	$(GO) test -run '^$$' -bench . -benchmem -benchtime=$(BENCHTIME) $(BENCH)

.PHONY: peers
peers: bin/peers ## beside etcd, flushed; then beside etcd, ZooKeeper, Redis, dragonboat, not flushed: judged, in out/peers (PEERS="--time 5s --runs 1")
	@mkdir -p out/peers
	@status=0; \
	bin/peers --domain file --out out/peers/file $(PEERS) || status=1; \
	bin/peers --domain memory --out out/peers/memory $(PEERS) || status=1; \
	exit $$status

.PHONY: redis-bench
redis-bench: bin/peers ## redis-benchmark against one Redis server without replicas and against three nodes: judged (REDISBENCH="--runs 1")
	bin/peers redis-bench $(REDISBENCH)

.PHONY: bin/peers
bin/peers: build
	-@sh scripts/needs.sh peers
	$(GO) build -C bench/peers -o $(CURDIR)/bin/peers .

.PHONY: peers-test
peers-test: bin/peers ## tests of the comparison, then every system in it for three seconds
	$(GO) vet -C bench/peers -tags process ./...
	$(GO) test -C bench/peers -count=1 ./...
	$(GO) test -C bench/peers -tags process -count=1 -v -timeout 14m -run '^TestProcess' . -peers.node $(CURDIR)/bin/node

.PHONY: bench-once
bench-once: ## every micro-benchmark once, so that none rots
	$(GO) test -run '^$$' -bench . -benchtime=1x $(BENCH)

.PHONY: fmt
fmt: ## gofmt everything
	gofmt -w $$(find . -name '*.go' -not -path './.git/*')

.PHONY: clean
clean: ## remove what was built; clusters stay: node cluster --destroy --dir D
	rm -rf bin out
