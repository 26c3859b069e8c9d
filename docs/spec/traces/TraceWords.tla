----------------------------- MODULE TraceWords -----------------------------
(* How the simulator writes traces down (heal/simulation, trace_tla.go); what  *)
(* a line must match is in Trace.tla.                                         *)
EXTENDS Naturals, Sequences
KeyAt == << "k0", "k1" >>
\* log: record, marker
R(k, ts, o, i, s, ad) == [k |-> KeyAt[k], ts |-> ts, o |-> o, i |-> i, s |-> s, ad |-> ad]
M(e, l) == [k |-> "view", ep |-> e, list |-> l]
\* view
V(live, sh, inc, until, cold) == [live |-> live, sh |-> sh, inc |-> inc, until |-> until, cold |-> cold]
\* what a node shows. len: of its log, add: the log's end since the line before;
\* ix: by key << position, 0 readable 1 locked 2 not looked at >>; pin: 1 more
\* than the position of a pinned range; f: by node << stream taken, applied,
\* visible, stable >>
O(ve, ns, cm, cd, len, add, dl, st, pin, ix, fw, f) ==
  [ve |-> ve, ns |-> ns, cm |-> cm, cd |-> cd, len |-> len, add |-> add, dl |-> dl, st |-> st, pin |-> pin, ix |-> ix, fw |-> fw, f |-> f]
\* lines: a part of a turn, a view decided, a new life, an answer, anything else
T(n, ob) == [t |-> "turn", n |-> n, ob |-> ob]
W(known, v) == [t |-> "view", known |-> known, v |-> v]
B(n, full, ob) == [t |-> "restart", n |-> n, full |-> full, ob |-> ob]
A(t, n, k, ts) == [t |-> t, n |-> n, k |-> KeyAt[k], ts |-> ts]
L(t, n) == [t |-> t, n |-> n]
=============================================================================
