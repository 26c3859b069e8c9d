package main

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"healkv"
	"healkv/cmd/node/admin"
	"healkv/dataplane/resp"
	"healkv/heal/membership"
)

// nodeMetrics turns a node's status into samples.
func nodeMetrics(s *healkv.Status, ready bool) []admin.Metric {
	gauge := func(name, help string, v float64, labels ...admin.Label) admin.Metric {
		return admin.Metric{Name: "healkv_" + name, Help: help, Kind: "gauge", Value: v, Labels: labels}
	}
	yes := map[bool]float64{true: 1}
	out := []admin.Metric{
		gauge("info", "What this node is; always 1.", 1, admin.Label{Name: "version", Value: version},
			admin.Label{Name: "model", Value: s.Model}, admin.Label{Name: "provider", Value: s.Provider},
			admin.Label{Name: "device", Value: s.Device},
			admin.Label{Name: "domain", Value: s.Domain}, admin.Label{Name: "page_size", Value: s.PageSize}),
		gauge("ready", "1 while the node serves clients.", yes[ready]),
		gauge("role", "1 for the role the node has.", 1, admin.Label{Name: "role", Value: s.Role}),
		gauge("lease_valid", "1 while the node holds its lease.", yes[s.LeaseValid]),
		gauge("epoch", "Number of the installed view.", float64(s.Epoch)),
		gauge("epochs_left", "Views that can follow: at 0 the members of the cluster change no more.", float64(s.EpochsLeft)),
		gauge("incarnation", "Number of this life of the node.", float64(s.Incarnation)),
		gauge("live_nodes", "Live members of the installed view.", float64(len(s.Live))),
		gauge("shadow_nodes", "Shadow members of the installed view.", float64(len(s.Shadow))),
		gauge("keys", "Keys that have a value.", float64(s.Keys)),
		gauge("pool_bytes", "Log space of the node.", float64(s.PoolBytes)),
		gauge("pool_used_bytes", "Log space in use.", float64(s.PoolUsedBytes)),
	}
	out = append(out, spaceMetrics(&s.Space)...)
	out = append(out,
		gauge("damaged_keys", "Damaged records that were found and are not repaired yet: their keys are refused.", float64(s.Damage.Open)),
		gauge("damaged_keys_lost", "Of those: no live member has a good copy. A write cures; see node status.", float64(s.Damage.Refused)))
	if c := s.Certificate; c != nil {
		out = append(out,
			gauge("certificate_not_after_seconds", "When the node's certificate ends, in seconds since 1970.", float64(c.NotAfter.Unix())),
			gauge("certificate_days_left", "Days until the node's certificate ends; below 0: it has.", c.DaysLeft),
			gauge("certificate_authorities", "Authorities the node trusts: 1, or 2 while the authority is replaced.", float64(c.Authorities)))
	}
	if m, ok := s.Membership.(membership.Status); ok {
		for _, p := range m.Peers {
			out = append(out, gauge("peer_class", "1 for what this node finds wrong with another one: alive, paused, slow, stalled, unlinked, unreachable, dead.", 1,
				admin.Label{Name: "node", Value: strconv.Itoa(int(p.Node))}, admin.Label{Name: "class", Value: p.Class}))
		}
	}
	names := make([]string, 0, len(s.Counters))
	for name := range s.Counters {
		names = append(names, name)
	}
	slices.Sort(names)
	out = append(out, flushMetrics(s)...)
	for _, name := range names {
		if _, ok := healkv.FlushBucket(name); ok {
			continue
		}
		if outcome, ok := strings.CutPrefix(name, "complaints_"); ok {
			out = append(out, admin.Metric{Name: "healkv_complaints_total", Kind: "counter", Value: float64(s.Counters[name]),
				Help:   "Removals over complaints that this node has proposed: attempted, and carried.",
				Labels: []admin.Label{{Name: "outcome", Value: outcome}}})
			continue
		}
		out = append(out, admin.Metric{Name: admin.MetricName("healkv", strings.TrimSuffix(name, "_total"), "total"),
			Help: "Counter of the node.", Kind: "counter", Value: float64(s.Counters[name])})
	}
	if r := s.LastRecovery; r != nil {
		kind := admin.Label{Name: "kind", Value: r.Kind}
		for _, part := range []struct {
			name string
			took time.Duration
		}{{"to_admitted", r.ToAdmitted}, {"to_installed", r.ToInstalled}, {"transfer", r.Transfer}, {"finish", r.Finish}, {"total", r.Total}} {
			out = append(out, gauge("last_recovery_seconds", "Parts of the last recovery's time.", part.took.Seconds(), kind, admin.Label{Name: "part", Value: part.name}))
		}
		out = append(out,
			gauge("last_recovery_bytes", "Bytes the last recovery transferred.", float64(r.Bytes), kind),
			gauge("last_recovery_records", "Records the last recovery transferred.", float64(r.Records), kind))
	}
	return out
}

// respMetrics turns the front end's totals into samples.
func respMetrics(s resp.Stats) []admin.Metric {
	counter := func(name, help string, v uint64) admin.Metric {
		return admin.Metric{Name: "healkv_resp_" + name + "_total", Help: help, Kind: "counter", Value: float64(v)}
	}
	return []admin.Metric{
		{Name: "healkv_resp_connections", Help: "Redis clients connected now.", Kind: "gauge", Value: float64(s.Conns)},
		counter("connections_accepted", "Redis clients that have connected.", s.Accepted),
		counter("connections_refused", "Redis clients beyond the limit.", s.Refused),
		counter("commands", "Redis commands.", s.Commands),
		counter("protocol_errors", "Connections closed over bytes that are no Redis protocol.", s.ProtocolErrors),
		counter("auth_failures", "Wrong passwords.", s.AuthFailures),
		counter("slow_closed", "Connections closed because the client took no replies.", s.SlowClosed),
		counter("received_bytes", "Bytes from Redis clients.", s.BytesIn),
		counter("sent_bytes", "Bytes to Redis clients.", s.BytesOut),
	}
}
