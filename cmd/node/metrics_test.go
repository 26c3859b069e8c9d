package main

import (
	"testing"
	"time"

	"healkv"
	"healkv/heal/identity"
)

// A certificate's end can be watched, and where there is none nothing is said.
func TestCertificateMetrics(t *testing.T) {
	end := time.Unix(2_000_000_000, 0)
	got := map[string]float64{}
	for _, m := range nodeMetrics(&healkv.Status{Certificate: &healkv.CertificateStatus{Status: identity.Status{NotAfter: end, Authorities: 2}, DaysLeft: 6.5}}, true) {
		got[m.Name] = m.Value
	}
	for name, want := range map[string]float64{"healkv_certificate_not_after_seconds": 2e9, "healkv_certificate_days_left": 6.5, "healkv_certificate_authorities": 2} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
	for _, m := range nodeMetrics(&healkv.Status{}, true) {
		if m.Name == "healkv_certificate_days_left" {
			t.Error("a certificate where none is needed")
		}
	}
}

// Complaints are one metric, by outcome.
func TestComplaintMetrics(t *testing.T) {
	got := map[string]float64{}
	for _, m := range nodeMetrics(&healkv.Status{Counters: map[string]uint64{"complaints_attempted": 3, "complaints_carried": 1, "leases_lost": 2}}, true) {
		if len(m.Labels) == 1 && m.Labels[0].Name == "outcome" {
			got[m.Name+" "+m.Labels[0].Value] = m.Value
		}
	}
	if len(got) != 2 || got["healkv_complaints_total attempted"] != 3 || got["healkv_complaints_total carried"] != 1 {
		t.Errorf("%v", got)
	}
}
