package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"healkv/cmd/node/config"
)

const about = `HealKV: a replicated in-memory key-value store that heals a returning node
with only what it missed.

usage: node COMMAND [FLAGS]

`

// details is the help text of each command, without its flags.
var details = map[string]string{
	"cluster": `usage: node cluster --dir D [FLAGS]
       node cluster --destroy --dir D

Runs the nodes of a cluster as processes of this machine, in the foreground,
until SIGTERM or Ctrl-C. Makes the cluster in D if D is new or empty; a cluster
that is there already is started again with its data. Prints "ready" when all
nodes are live.

Node i, from 0, serves Redis clients on 127.0.0.1:RESP-PORT+i and HTTP /status,
/metrics, /healthz, /readyz on 127.0.0.1:ADMIN-PORT+i. Its configuration is
D/node-i/node.toml, its log D/node-i/log. With --provider tcp or verbs it also
listens on 127.0.0.1:CONTROL-PORT+i, and with tcp on one port for each shard
from DATA-PORT+i*SHARDS on; certificates are made with the cluster.

A node that is killed is reported and not restarted; bring it back with
  node serve --config D/node-i/node.toml
which then runs until it is stopped by hand. A node that ` + "`node rolling`" + `
restarts is started again here.

A second signal while stopping kills what is left. Exit status 0: stopped as
asked, every node that ran ended cleanly.

`,
	"status": `usage: node status --dir D [--json] [--check]
       node status --config FILE [--json] [--check]

Shows the view, and what every node of the local cluster in D says of itself:
role, what is left of its lease, who suspects it, how it came back or how far it
is on its way back. Below: why a node does not serve, and what a node finds
wrong with another one: dead, unreachable, unlinked, stalled, slow or paused.
A node that does not answer is down. With --config it is one node, and the view
as that node knows it.

`,
	"drain": `usage: node drain --dir D --node I [--stay | --back] [FLAGS]
       node drain --config FILE [--stay | --back] [FLAGS]

Takes a node out of the group without a stall: its clients are refused with
TRYAGAIN, which says that nothing was applied, so they go to another node;
writes under way end; it gives its lease back, leaves the view, and flushes. Its
process ends with exit status 0 when its clients have gone, or drain_grace
later; ` + "`node serve`" + ` brings it back with what it missed.
With --stay the process stays, votes and answers status until --back.

Refused, and the node serves on: at the last live node; during a cold start;
where fewer than a majority of the nodes would be left running, unless --force;
if writes under way are not through --within the time. SIGTERM to a node does
the same without asking.

An order goes through a socket in the node's state directory, as the node's user
or root; it is logged there with who gave it.

`,
	"cold-start": `usage: node cold-start --dir D --epoch E --without I,... [--dry] [FLAGS]
       node cold-start --config FILE --epoch E --without I,... [--dry] [FLAGS]

For a cluster that is down and cannot start by itself, because nodes that were
live at the end are lost, or their pools are. It starts without them, from what
the others hold. THIS CAN LOSE WRITES THAT WERE ANSWERED: --dry says which, and
whether the order would be taken. Never needed while a node is live.

E is the epoch in the first line of ` + "`node status`" + `. The order goes to one node
that was live then, --node or the first that answers. It is refused, and changes
nothing, if the view is another one, if a live member runs, or if a node that is
not named does not answer or has no whole pool. Nodes that were left out come
back by a full copy.

`,
	"rolling": `usage: node rolling --dir D [--pause T] [FLAGS]

Restarts the nodes of the local cluster in D one after the other: drains one,
has it started again, waits until it is live and serves, takes the next. All
nodes must be live to begin with. The running ` + "`node cluster`" + ` starts its nodes
again; one that was started by hand is started in the background, with its
output in D/node-i/log. Stops at the first node that does not come back.

`,
	"serve": `usage: node serve --config FILE [FLAGS]

Runs one node in the foreground. SIGTERM or Ctrl-C: it is drained, as by
` + "`node drain`" + `, and exits 0; SIGHUP: it flushes and exits 0 without waiting for a
majority, which stops too. Exit status 75: drained by ` + "`node rolling`" + `, to be
started again.

A flag wins over the environment (HEALKV_POOL_SIZE), the environment over the
file, the file over the default. ` + "`node help config`" + ` has them all.

`,
	"format": `usage: node format --config FILE [FLAGS]

Makes the pools and the state file of one node. Refuses where there are some
already: nothing is overwritten. ` + "`node cluster`" + ` does this by itself.

`,
	"certs": `usage: node certs --dir D [--nodes N] [--cluster-id ID] [--hosts H,...] [--days N]
       node certs --dir D [--nodes N] --rotate-authority | --drop-old-authority

Makes what nodes prove themselves with over tcp and verbs: an authority in D
(ca.pem, ca-key.pem) and for every node i D/node-i with ca.pem, cert.pem and
key.pem, which go to that node and into its tls.ca, tls.cert and tls.key. The
certificate names the node: healkv://CLUSTER-ID/i. Again with the same D: new
certificates by the same authority, which running nodes take into use within
seconds. --rotate-authority makes a new authority that nodes trust beside the
old one; after new certificates, --drop-old-authority ends that. ` + "`node cluster`, `node demo`" + ` and the others do this by themselves.

`,
	"demo": `usage: node demo [--out DIR] [FLAGS]

Starts six node processes, over shared memory unless --provider says otherwise,
loads them, runs TAOBench A, kills a node, heals it, does the same with a full
copy, verifies that nothing acknowledged was lost, and writes the report to DIR:
terminal table, JSON, CSV, HDR histograms and one HTML page. Exit status 0:
everything verified.

With --failover N it first measures, on clusters of their own, what a kill, a
stop and a planned leave cost the nodes that are left alone, N times each.

`,
	"chaos": `usage: node chaos [--time T] [--faults N] [--seed S] [FLAGS]

Makes one local cluster after the other, of every model and domain in turn, puts
it under load, kills, stops and starves its processes in every phase, lets it
come to rest, and judges it: all nodes live again and equal, nothing
acknowledged lost, every history linearizable, no unexpected word in a log,
nothing left behind. Writes DIR/chaos.json. What a failed round leaves is in
DIR/round-N. Exit status 0: every round passed.

For half an hour and at least 300 faults:
  node chaos --time 30m --faults 300

With --matrix it carries the fault matrix out instead: a cluster for each model,
domain and way to connect (shm, tcp), in it one fault after the other, and the
longest stall of writes of each. Writes DIR/processes.md and .json. A tenth:
  node chaos --matrix --share 0.1 --seed 7

`,
	"bench": `usage: node bench [FLAGS]

Runs the published workloads (TAOBench A, O, read-only; YCSB) with generators
inside the nodes. With --expect-epoch-stable exit status 0 also means that load
alone moved nobody out of the group.

`,
	"doctor": `usage: node doctor [--json]
       node doctor --provider verbs [--device X | --netdev N] [FLAGS]
       node doctor --domain dax --dir D

Looks at RDMA devices, ports and GIDs, locked memory, huge pages, tmpfs, DAX
mounts, flush instructions, cores, eBPF and AF_XDP, and says for each gap what
to do. Needs neither privileges nor libibverbs. Exit status 0, unless something
is asked for that cannot be had: 1 then.

`,
	"version": "usage: node version\n\n",
	"help":    "usage: node help [COMMAND | config]\n\n",
}

func runHelp(_ context.Context, args []string) error {
	if len(args) == 0 {
		fmt.Print(about)
		for _, c := range commands {
			fmt.Printf("  %-10s %s\n", c.name, c.summary)
		}
		fmt.Print("\nStart here:  node cluster --nodes 3 --dir /tmp/healkv\n             redis-cli -p 7000 set greeting hello\n             redis-cli -p 7001 get greeting\n")
		return nil
	}
	if args[0] != "config" && details[args[0]] == "" {
		return usage("help: there is no command %q; `node help` lists them", args[0])
	}
	explain(os.Stdout, args[0])
	return nil
}

// explain writes the help of one command, flags included.
func explain(w io.Writer, name string) {
	if name == "config" {
		explainConfig(w)
		return
	}
	fmt.Fprint(w, details[name])
	switch name {
	case "cluster":
		fmt.Fprint(w, "flags:\n")
		explainFlags(w, clusterFlags(newClusterArgs()))
		fmt.Fprint(w, "\nflags that set a key of every node; those marked * are decided when the\ncluster is made:\n")
		explainShared(w)
	case "status":
		fmt.Fprint(w, "flags:\n")
		explainFlags(w, statusFlags(&statusArgs{}))
	case "drain":
		fmt.Fprint(w, "flags:\n")
		explainFlags(w, drainFlags(&drainArgs{}))
	case "cold-start":
		fmt.Fprint(w, "flags:\n")
		explainFlags(w, coldStartFlags(&coldStartArgs{}))
	case "rolling":
		fmt.Fprint(w, "flags:\n")
		explainFlags(w, rollingFlags(&rollingArgs{}))
	case "serve", "format":
		fmt.Fprint(w, "flags:\n  --config FILE  the node's configuration file\n\nand one for every key of the file:\n ")
		writeWrapped(w, allFlags())
	case "certs":
		fmt.Fprint(w, "flags:\n")
		explainFlags(w, certsFlags(&certsArgs{}))
	case "demo":
		fmt.Fprint(w, "flags:\n")
		explainFlags(w, demoFlags(&demoArgs{}))
	case "chaos":
		fmt.Fprint(w, "flags:\n")
		explainFlags(w, chaosFlags(&chaosArgs{}))
	case "bench":
		fmt.Fprint(w, "flags:\n")
		explainFlags(w, benchFlags(&benchArgs{}))
	case "doctor":
		fmt.Fprint(w, "flags:\n")
		explainFlags(w, doctorFlags(&doctorArgs{}))
	}
}

func explainConfig(w io.Writer) {
	fmt.Fprint(w, `A node is configured by a TOML file, environment variables and flags; a flag
wins over the environment, that over the file. Sizes have a unit (512MiB),
durations too (200ms), both in quotes in the file. An unknown key is an error.
This is a file with the defaults:

`)
	c := config.Default()
	fmt.Fprint(w, config.Text(&c))
	fmt.Fprint(w, "\nkey, flag, environment variable:\n")
	for i := range config.Keys {
		k := &config.Keys[i]
		fmt.Fprintf(w, "  %-16s --%-16s %s\n", k.Name, k.Flag(), k.Env())
	}
}

func writeWrapped(w io.Writer, words []string) {
	width := 1
	for _, word := range words {
		if width+len(word)+1 > 78 {
			fmt.Fprint(w, "\n ")
			width = 1
		}
		fmt.Fprint(w, " "+word)
		width += len(word) + 1
	}
	fmt.Fprintln(w)
}

func allFlags() (names []string) {
	for i := range config.Keys {
		names = append(names, "--"+config.Keys[i].Flag())
	}
	return names
}

// explainShared lists the keys that all nodes of a cluster have in common.
func explainShared(w io.Writer) {
	defaults := newClusterArgs().source.Config
	for i := range config.Keys {
		k := &config.Keys[i]
		if !shared(k) {
			continue
		}
		mark, standard := "", k.Text(&defaults)
		if k.Fixed {
			mark = " *"
		}
		switch {
		case k.Name == "cluster_id" || k.Name == "hash_seed":
			standard = "random"
		case k.Name == "run_dir":
			standard = "/dev/shm/healkv-ID-UID"
		case standard == "":
			standard = "none"
		}
		fmt.Fprintf(w, "  --%s%s\n%s\n        %s (default %s)\n", k.Flag(), mark, indent(k.Help), k.Allowed, standard)
	}
}

// shared tells whether a key is set once for all nodes of a local cluster.
func shared(k *config.Key) bool { return !k.PerNode && k.Name != "ephemeral" }

// indent puts a flag's explanation under it.
func indent(text string) string { return "        " + strings.ReplaceAll(text, "\n", "\n        ") }
