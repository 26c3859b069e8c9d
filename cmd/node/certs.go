package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"healkv/heal/identity"
)

// certsArgs are the flags of `node certs`.
type certsArgs struct {
	dir     string
	nodes   int
	cluster string
	hosts   string
	days    int
	rotate  bool
	drop    bool
}

func certsFlags(a *certsArgs) *flag.FlagSet {
	fs := newFlagSet("certs")
	fs.StringVar(&a.dir, "dir", "", "directory `D` for authority and certificates; an authority that is there signs again")
	fs.IntVar(&a.nodes, "nodes", nodesDefault, "`number` of nodes, always the same for one D")
	fs.StringVar(&a.cluster, "cluster-id", "", "the cluster's id, 32 hex `digits`; default: the authority's, or a new one")
	fs.StringVar(&a.hosts, "hosts", "", "`names` or addresses, one for each node, comma between; for tools that compare them, nodes do not")
	fs.BoolVar(&a.rotate, "rotate-authority", false, "step 1 of replacing the authority: make a new one, which signs from now on, and put both into every ca.pem")
	fs.BoolVar(&a.drop, "drop-old-authority", false, "step 3, after new certificates: leave only the new authority in every ca.pem")
	fs.IntVar(&a.days, "days", 365, "how many `days` the nodes' certificates are valid")
	return fs
}

func runCerts(_ context.Context, args []string) error {
	var a certsArgs
	if err := parse(certsFlags(&a), args); err != nil {
		return err
	}
	if a.dir == "" {
		return usage("certs: --dir is missing: where shall authority and certificates go?")
	}
	o := identity.MakeOptions{Dir: a.dir, Cluster: a.cluster, Nodes: a.nodes, Now: time.Now(), Valid: time.Duration(a.days) * 24 * time.Hour}
	if a.rotate || a.drop {
		return changeAuthority(&a, o)
	}
	if a.hosts != "" {
		for h := range strings.SplitSeq(a.hosts, ",") {
			o.Hosts = append(o.Hosts, strings.TrimSpace(h))
		}
	}
	_, err := os.Stat(filepath.Join(a.dir, identity.CAFile))
	switch id, badHex := hex.DecodeString(a.cluster); {
	case a.cluster != "" && (badHex != nil || len(id) != 16):
		return usage("certs: --cluster-id %q: want 32 hex digits, as in cluster_id of the nodes' files", a.cluster)
	case a.days < 1 || a.days > 20*365:
		return usage("certs: --days %d: want 1 to %d", a.days, 20*365)
	case a.cluster == "" && err != nil:
		var fresh [16]byte
		_, _ = rand.Read(fresh[:]) // never fails (crypto/rand)
		o.Cluster = hex.EncodeToString(fresh[:])
	}
	cluster, made, err := identity.Make(o)
	if err != nil {
		return err
	}
	what := "signed by the authority that was there"
	if made {
		what = "and a new authority: keep " + identity.CAKeyFile + " away from the nodes"
	}
	fmt.Printf("cluster_id %s: certificates of %d nodes in %s, valid %d days, %s\n", cluster, a.nodes, filepath.Join(a.dir, "node-*"), a.days, what)
	return nil
}

// changeAuthority is the first and the last of three steps, each of which goes
// to all nodes before the next one; the second is new certificates.
func changeAuthority(a *certsArgs, o identity.MakeOptions) error {
	files := filepath.Join(a.dir, "node-*", identity.CAFile)
	switch {
	case a.rotate && a.drop:
		return usage("certs: --rotate-authority and --drop-old-authority are two steps: new certificates come between them")
	case a.rotate:
		if err := identity.RotateAuthority(o); err != nil {
			return err
		}
		fmt.Printf("a new authority signs from now on; %s of %d nodes have both.\nNext: copy these to the nodes; then `node certs --dir %s --nodes %d` and copy the new certificates; then --drop-old-authority\n",
			files, a.nodes, a.dir, a.nodes)
	default:
		if err := identity.DropOldAuthority(o); err != nil {
			return err
		}
		fmt.Printf("the old authority is dropped; %s of %d nodes have the new one.\nNext: copy these to the nodes\n", files, a.nodes)
	}
	return nil
}
