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

The first line is the newest view that any node knows: the group's members as
a majority of the nodes has decided them, with the view's number, its epoch.
Live members serve; shadows take all writes and fetch what they missed; away
are the nodes that are not in it. Then a line for every node, as it says itself:

  ROLE          live: it serves. joining, shadow, cold: on its way back.
                fenced: in the view, without a lease, it answers nobody.
                draining, drained: it leaves, or has left, by order.
                down: it does not answer
  LEASE         for how long it may serve if it hears nothing more
  SUSPECTED BY  nodes that are about to remove it
  EPOCH, INC    the view that it knows, and the number of this life of it
  CERTIFICATE   between hosts: when it ends, and how many authorities the node
                trusts: 2 while the authority is being replaced
  RECOVERY      how it came back last, or how far it is on its way back

Below the table: why a node does not serve; what a node finds wrong with another
one (dead, unreachable, unlinked, stalled, slow or paused), and who complains;
whose certificate ends within 30 days. With --config it is the node of that file
alone, and the view as that node knows it. What each field of --json means is in
docs/operations.md, "Fields of /status".

Exit status 0, also if a node is down; with --check 1 unless all nodes are live
and serving.

`,
	"drain": `usage: node drain --dir D --node I [--stay | --back] [FLAGS]
       node drain --config FILE [--stay | --back] [FLAGS]

Takes a node out of the group without a stall: its clients are refused with
TRYAGAIN, which says that nothing was applied, so they go to another node;
writes under way end; it gives its lease back, leaves the view, and flushes. Its
process ends when its clients have gone, at most drain_grace later (a setting of
the node, 2s); ` + "`node serve`" + ` brings it back, and it fetches what it missed.
With --stay the process stays, votes and answers status. --back ends that: it
waits until the node is live again.

Refused, with exit status 1, and the node serves on: at the last live node;
during a cold start and before the first view; where fewer than a majority of
the nodes would be left running, unless --force or --stay; if writes under way
are not through after two thirds of --within; while another order to this node
is under way ("busy"). --back is refused at a node that is not drained, or whose
process is ending.

Exit status 1 and "out of service, but not in order": it is drained, but no
majority has decided that it leaves, so the others remove it when its lease is
over and their writes wait until then; or its pool was not closed as it should
be. The text says which, and what to do.

SIGTERM to a node drains it too, and ends its process even where this order is
refused. It takes over an order that is under way: the process ends within
stop_timeout (10s) and what the last flush takes.

An order goes through a socket in the node's state directory, so give it on the
node's host, as the node's user or root. The node's log says who gave it.

`,
	"cold-start": `usage: node cold-start --dir D --epoch E --without I,... [--dry] [FLAGS]
       node cold-start --config FILE --epoch E --without I,... [--dry] [FLAGS]

For a cluster that is down and cannot start by itself, because nodes that were
live at the end are lost, or their pools are. It starts without them, from what
the others hold. THIS CAN LOSE WRITES THAT WERE ANSWERED: --dry says which, and
whether the order would be taken. Never needed while a node is live.

First start every node that is not lost. --epoch E is the number after "epoch"
in the first line of ` + "`node status`" + `; --without are the lost ones of the nodes
that line calls live. The order goes to one node: to --node or --config, which
must be live in that line too and not lost, or, with --dir alone, to the first
such node that answers. Where none of them answers, another one is asked, which
refuses and says why; where nobody answers that is an error.

It is refused, and changes nothing, if the view is another one, if a live member
runs, or if a live member that is not named in --without does not answer or has
no whole pool. When it is taken, the command waits until the node serves; the
order stands also after --within. Nodes that were left out come back by a full
copy when they are started: what they held is discarded.

`,
	"forget": `usage: node forget --dir D [--node I]
       node forget --config FILE

What an absent node has missed is kept in the logs of the live ones until it is
back. This order has them forget it, for all nodes that are away now: the cleaner
may have the space at once. No data is lost. When such a node comes back it
compares digests of what it holds with a live node's and fetches what differs
(recovery "digest"): more work at both than by what it missed, far less than a
full copy.

With --dir alone every live node of the local cluster gets the order. A node that
comes back is healed by range where the live node it asks was not told.

`,
	"accept-loss": `usage: node accept-loss --dir D [--node I]
       node accept-loss --config FILE

A damaged record is fetched from the other nodes. Where no live node has a good
copy, its key is refused: node status names such records, as far as their keys
are known. A write or a delete of the key cures that; so does the return of a node
that has a good copy. This order gives them up for good: their keys are as if they
had never been written. While they stay, a node that needs them for its recovery
cannot finish it.

With --dir alone every live node of the local cluster gets the order. One is
enough: the others ask it again within seconds.

`,
	"rolling": `usage: node rolling --dir D [--pause T] [--within T] [--force]

Restarts the nodes of the local cluster in D one after the other, for a new
binary or new settings: drains one (` + "`node help drain`" + `), has it started again,
waits until it is live and serves, takes the next. All nodes must be live before
each of them. A running ` + "`node cluster`" + ` starts its nodes again; where none
watches a node, ` + "`node serve`" + ` is started for it in the background, with its
output in D/node-i/log. Stops, with exit status 1, at the first node that does
not leave or does not come back, and says which nodes were not touched; given
again, it restarts all of them.

A cluster of two nodes cannot spare one without a stop of all writes: --force
says that they may. The only node of a cluster is never drained.

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
(ca.pem, ca-key.pem) and for every node i a directory D/node-i with ca.pem,
cert.pem and key.pem. Copy that directory to node i, and name its files in
tls.ca, tls.cert and tls.key of the node's configuration. Keep ca-key.pem away
from the nodes: whoever has it can be every node. The certificate names the
node: healkv://CLUSTER-ID/i. ` + "`node cluster`" + `, ` + "`node demo`" + ` and the others do all
this by themselves.

To renew: the same command with the same D and --nodes makes new certificates by
the same authority. Copy them; running nodes take them into use within seconds.
` + "`node status`" + ` shows when each node's certificate ends; its log warns 30 and 7
days before.

To replace the authority, three steps; after each one copy D/node-i to all nodes
before the next:
  1. node certs --dir D --nodes N --rotate-authority
     a new authority signs from now on, nodes trust both
  2. node certs --dir D --nodes N
     certificates by the new one
  3. node certs --dir D --nodes N --drop-old-authority
     nodes trust the new one alone; refused before step 2
Step 2 is over when ` + "`node status`" + ` shows a new end of every node's certificate.

`,
	"demo": `usage: node demo [--out DIR] [FLAGS]

Starts six node processes, over shared memory unless --provider says otherwise,
loads them, runs TAOBench A, kills a node, heals it, kills five more for what
every way back costs (--returns), does the first again with a full copy, verifies
that nothing acknowledged was lost, and writes the report to DIR: terminal table,
JSON, CSV, HDR histograms and one HTML page. Exit status 0: everything verified.

With --failover N it first measures, on clusters of their own, what a kill, a
stop and a planned leave cost the nodes that are left alone, over shared memory
and over TCP, N times each; then a rolling restart, and all killed at once. The
report holds each to its bound; with --check exit status 1 if one was not kept.

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
	"damage": `usage: node damage [--share S] [--seed N] [--cell PATTERN] [FLAGS]

Carries the damage matrix out: record, segment header, index page, checkpoint and
superblock, each with a flipped bit, zeroed, torn, as a stale copy and by a
misdirected write, at every subset of six nodes (in this process, with real
files): 1 600 cells. Every key is then read through every node: exact, refused
(only where no good copy is left), or a failure. Writes DIR/damage.txt and
damage.json. Exit status 0: no cell failed.

With --flips it flips single bits in the files that six nodes have mapped, under
load, judges every read, restarts the nodes one by one and reads all again.

  node damage --share 0.04 --seed 7
  node damage --flips 10000
  node damage --cell 'record|bit flip|0,2'

`,
	"restart-bench": `usage: node restart-bench [FLAGS]

One node in the file domain for every number of records: loads them all, then takes
turns. In its turn a node overwrites some records, so that there is something to
replay, and its process is ended by SIGKILL, once as it stands and once as a power
loss would leave it (the index, which lies in memory, is removed, and as root the
page cache is dropped). Measured is the time from the start of the new process
to its first successful read and write. "gone" is the time from SIGKILL until the
kernel has taken the old process apart; it is not part of the others. A start
flushes a dozen times: "fdatasync" is what one of 4 KiB takes right before.

Memory: about 22 bytes a record in /dev/shm for the index, and the page cache.
Disk: about 250 bytes a record, the same again for the index checkpoints at most
a tenth; for all nodes together. Figures of a machine that does something else meanwhile mean nothing.

`,
	"floor": `usage: node floor [FLAGS]

Measures the floors below the product's figures: copying, checksums, probes of
memory, flushing, a round trip between processes awake and asleep, and the work
of a write without any protocol. Takes half a minute and 1 GiB of tmpfs.

`,
	"bench": `usage: node bench [FLAGS]

Runs the published workloads (TAOBench A, O, read-only; YCSB) with generators
inside the nodes. With --expect-epoch-stable exit status 0 also means that load
alone moved nobody out of the group. What the Go runtime of every node process
did meanwhile is shown: collections, their pauses, bytes allocated for an
operation; with --expect-quiet-heap exit status 0 also means that nobody
collected garbage and that operations allocate nothing.

`,
	"cost": `usage: node cost [--out DIR] [--check] [FLAGS]

What recoveries cost the nodes that live on, on one cluster of six nodes:
  1. saturation: what all complete in a closed loop;
  2. at half of that, open loop, every access's latency counted from the moment it
     was due: nodes are killed one after the other, are away for ten seconds and
     come back by HEAL, then others by full copy. What the live nodes complete
     meanwhile, and their p99, against the time before the kill;
  3. at saturation, with one recovery budget after the other, whoever wants the
     cores (no floor): what the live nodes lose against how long the recovery takes;
  4. on a cluster of three nodes that leaves a core idle: how long hot-path threads
     are kept off their cores by recovery work (eBPF; as root).
Then it verifies that nothing acknowledged was lost, judges each figure by its
bound, and writes cost.json and cost.html to DIR. About five minutes, 8 GiB of
memory; a machine that does something else meanwhile measures that too. Exit
status 0: everything verified, and with --check every bound kept.

  node cost --heals 2 --fulls 1 --away 3s --budgets 64KiB,1MiB --sweeps 1

`,
	"endure": `usage: node endure [--time 30m] [--kill 15m] [--away 15s] [FLAGS]

Six nodes with pools of twice the live data, overwritten all the time with a
zipfian skew. The measurement begins when every log was written through once,
so that the cleaner works everywhere; a node is killed in the middle and comes
back. A line for every interval says what all nodes together completed, how
much of each log was free at the least, and the amplification: bytes that the
log took for each that was written, since the measurement began or the node
came back. At the end it judges: throughput of every interval with all nodes at
least 85 % of the first one's, space and amplification within their bounds, the
node healed by HEAL and not by full copy, no acknowledged write lost at any
node, all nodes equal, and the watched keys linearizable. The same in
DIR/endure.txt and DIR/endure.json. Exit status 0: all of that held.

  node endure --time 60s --kill 30s --away 5s --keys 200000

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
			fmt.Printf("  %-13s %s\n", c.name, c.summary)
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
	case "accept-loss":
		fmt.Fprint(w, "flags:\n")
		explainFlags(w, liveOrderFlags("accept-loss", &targetArgs{}))
	case "forget":
		fmt.Fprint(w, "flags:\n")
		explainFlags(w, liveOrderFlags("forget", &targetArgs{}))
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
	case "damage":
		fmt.Fprint(w, "flags:\n")
		explainFlags(w, damageFlags(&damageArgs{}))
	case "restart-bench":
		explainFlags(w, restartFlags(&restartArgs{}))
	case "floor":
		fmt.Fprint(w, "flags:\n")
		explainFlags(w, floorFlags(&floorArgs{}))
	case "bench":
		fmt.Fprint(w, "flags:\n")
		explainFlags(w, benchFlags(&benchArgs{}))
	case "cost":
		fmt.Fprint(w, "flags:\n")
		explainFlags(w, costFlags(&costArgs{}))
	case "endure":
		fmt.Fprint(w, "flags:\n")
		explainFlags(w, endureFlags(&endureArgs{}))
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
