-------------------------------- MODULE Heal --------------------------------
(* The protocol of docs/protocol.md for one shard: streams and watermarks,    *)
(* views, settling, rejoin with buddy and shadow, cold start, full copy; all  *)
(* five persistency models. README.md says which action is which function of  *)
(* the code, what is left out, and how to run it.                             *)
(*                                                                            *)
(* Three kinds of steps: clients and faults, bounded by constants; what a     *)
(* node does; and Ripple, which after every step moves what only ever grows   *)
(* and is worst when it moves at once: answers, stable watermarks, stable     *)
(* positions, reads.                                                          *)
(*                                                                            *)
(* Without names cures that are left out: each stands as Cure("Hn") where the *)
(* code has it.                                                               *)
EXTENDS Naturals, Sequences, FiniteSets, TLC

CONSTANTS
  Node,        \* configured nodes: numbers 1..9
  Keys,        \* model values
  Model,       \* "synchronous", "strict", "read-enforced", "eventual", "scope"
  Witness,     \* how many configured nodes vote and hold no data
  Writers,     \* nodes that take client writes
  Frail,       \* nodes that may fail
  Stay,        \* nodes that do not come back
  Out,         \* nodes that have failed before anything was written; view 2 is without them
  Behind,      \* the other nodes have installed view 2, these have not yet
  Lazy,        \* nodes that may flush late; the others flush at once
  MaxWrites, MaxPersists,
  MaxCrashes, MaxFences, MaxDrops,  \* crashes; lost leases; shadows dropped in good health
  MaxEpoch,
  PowerFail,   \* a crash may lose what was not flushed
  Early,       \* a node may be back before the view without it
  Cold,        \* all nodes may be down at once
  FullCopy,    \* a life may choose to heal by full copy
  OldCopy,     \* a pool may come back as an older copy of itself
  Walk,        \* a buddy lists its range record by record, not at once
  Without      \* cures left out

VARIABLES
  views,       \* the register: sequence of [live, sh, inc, until, cold]; the index is the epoch
  ve,          \* [n]: epoch installed in this life, 0: none
  up, ls,      \* [n]: the process runs; its lease holds
  inc,         \* [n]: incarnation
  str,         \* [c]: the stream of c's life: sequence of [k, ts, ep, w]; w: a client's write
  cm,          \* [c]: visible, as computed by c
  cd,          \* [c]: stable, as computed by c
  fd,          \* [c][n]: position from which c feeds n
  fol,         \* [n][c]: life of c whose stream n takes, or None
  appl,        \* [n][c]: applied
  vis, vp,     \* [n][c]: visible and stable as learnt
  sp,          \* [n][c]: per entry [b, a, p]: log length before and after its burst, its position (0: lost)
  oa,          \* [c][n]: what an earlier life of n acknowledged, if that counts (H9)
  log,         \* [n]: sequence of records and markers; its positions are 1, 2, ...
  dl, pd,      \* [n]: flushed through, as the node takes it and really (H21)
  idx,         \* [n][k]: [p, lk]: position of the record (0: none), locked
  fw,          \* [n]: roll-forward cursor's work: set of <<k, p>>
  lent,        \* [n]: adopted locked records of live owners: set of [k, p, o, i, s]
  mk,          \* [n]: markers kept: sequence of <<epoch, position>>
  st,          \* [n]: stable position
  hd, ok,      \* [n]: view that must be settled before st moves; the last such view that is
  l0,          \* [n]: log length when this life began
  saw,         \* [n]: what others saw this node's last life flush
  fl, inco,    \* [n]: this life heals by full copy; the pool is incomplete (durable)
  tr,          \* [n]: way back: [ph, b, bi, e, w, to, it]
  ans, red, per, \* [k]: highest timestamp answered, read, covered by a PERSIST
  minted, dup, \* timestamps given out; one was given out twice
  nw, np, nc, nf, nd  \* writes, PERSISTs, crashes, fences, drops so far

nodeV == << ve, up, ls, inc >>
coordV == << str, cm, fd, oa >>
followV == << fol, appl, vis, sp >>
diskV == << log, dl, pd >>
dataV == << idx, fw, lent >>
posV == << mk, hd, l0, saw >>
wayV == << fl, inco, tr >>
rippleV == << cd, vp, st, ok, ans, red, per >>
histV == << minted, dup >>
countV == << nw, np, nc, nf, nd >>
vars == << views, nodeV, coordV, followV, diskV, dataV, posV, wayV, rippleV, histV, countV >>

Cure(h) == h \notin Without
None == 0
View0 == "view"        \* the key of a marker record
Persist == "persist"   \* the key of a PERSIST entry

Mx(a, b) == IF a > b THEN a ELSE b
Mn(a, b) == IF a < b THEN a ELSE b
Max(S) == CHOOSE x \in S : \A y \in S : y <= x
Min(S) == CHOOSE x \in S : \A y \in S : y >= x

\* ---- timestamps: epoch, version, node, compared as one number
TS(e, v, n) == e * 100 + v * 10 + n
EpochOf(t) == t \div 100
VerOf(t) == (t % 100) \div 10

\* ---- views
Last == views[Len(views)]
Mem(e) == views[e].live \cup views[e].sh
Has(e, n, i) == n \in Mem(e) /\ views[e].inc[n] = i
Running(n) == up[n] /\ ve[n] > 0
Live(n) == Running(n) /\ n \in views[ve[n]].live
Serving(n) == Live(n) /\ ls[n]
MayRead(n) == Live(n) /\ (ls[n] \/ ~Cure("H12"))
Gone(n) == ~up[n] \/ inc[n] # Last.inc[n]       \* the last view's life of n has ended

\* ---- records
At(n, p) == log[n][p]
Ts(n, k) == IF idx[n][k].p = 0 THEN 0 ELSE log[n][idx[n][k].p].ts
Locked(n, k) == idx[n][k].p # 0 /\ idx[n][k].lk
Rec(k, t, o, i, s, ad) == [k |-> k, ts |-> t, o |-> o, i |-> i, s |-> s, ad |-> ad]
MaxTS(l, k) == LET S == {i \in 1..Len(l) : l[i].k = k} IN IF S = {} THEN 0 ELSE Max({l[i].ts : i \in S})
Newest(l, k) == LET S == {i \in 1..Len(l) : l[i].k = k} IN
                IF S = {} THEN 0 ELSE LET t == Max({l[i].ts : i \in S}) IN Max({i \in S : l[i].ts = t})
Flushed(n, k) == MaxTS(TLCEval(SubSeq(log[n], 1, pd[n])), k)

\* ---- the five models
AnswerOn == IF Model \in {"synchronous", "strict"} THEN "durable" ELSE "applied"
ReadOn == IF Model \in {"synchronous", "read-enforced"} THEN "durable" ELSE "applied"

\* ---- watermarks
\* through here c's stream is flushed at n
Dur(n, c) == Cardinality({s \in DOMAIN sp[n][c] : sp[n][c][s].a <= dl[n]})
Follows(m, c) == fol[m][c] = inc[c] /\ inc[m] = views[ve[c]].inc[m]
AckA(c, m) == IF m = c THEN Len(str[c]) ELSE Mx(oa[c][m].a, IF Follows(m, c) THEN appl[m][c] ELSE fd[c][m])
AckD(c, m) == IF m = c THEN Dur(c, c) ELSE Mx(oa[c][m].d, IF Follows(m, c) THEN Dur(m, c) ELSE fd[c][m])
\* "everywhere": at every live and shadow member of c's view, c included;
\* what is durable is applied
Everywhere(c, on) == Min({IF on = "applied" THEN AckA(c, m) ELSE AckD(c, m) : m \in Mem(ve[c])})

\* ---- settling and the stable position
Settled(n) == Max({0} \cup {log[n][i].ep : i \in {j \in 1..dl[n] : log[n][j].k = View0}})
AllSettled(n) == n \in views[ve[n]].live /\ \A m \in views[ve[n]].live : Settled(m) >= hd[n]
\* log position below which every entry, of any stream, is stable
Floor(n) == LET open == UNION {{sp[n][c][s].b : s \in vp[n][c]+1..Len(sp[n][c])} : c \in {x \in Node : x = n \/ fol[n][x] # None}}
                   waiting == IF Cure("LENT") THEN {x.p - 1 : x \in {y \in lent[n] : idx[n][y.k] = [p |-> y.p, lk |-> TRUE]}} ELSE {}
                   low == Min(open \cup waiting \cup {Len(log[n])})
               IN IF Cure("H20") THEN Mn(low, dl[n]) ELSE low

Blank == [ph |-> 0, b |-> None, bi |-> 0, e |-> 0, w |-> 0, to |-> 0, it |-> {}]
NoIdx == [k \in Keys |-> [p |-> 0, lk |-> FALSE]]
Zero == [n \in Node |-> 0]

First == [live |-> Node, sh |-> {}, inc |-> [n \in Node |-> 1], until |-> Zero, cold |-> FALSE]
Second == [First EXCEPT !.live = Node \ Out, !.until = [n \in Node |-> 1]]
Begun(n) == IF Out = {} \/ n \in Out \cup Behind THEN 1 ELSE 2      \* epoch in which n begins
Marker(e, list) == [k |-> View0, ep |-> e, list |-> list]

Init ==
  /\ views = IF Out = {} THEN << First >> ELSE << First, Second >>
  /\ ve = [n \in Node |-> Begun(n)] /\ up = [n \in Node |-> n \notin Out] /\ ls = [n \in Node |-> n \notin Out]
  /\ inc = [n \in Node |-> 1]
  /\ str = [n \in Node |-> << >>] /\ cm = Zero /\ cd = Zero /\ fd = [n \in Node |-> Zero]
  /\ fol = [n \in Node |-> [c \in Node |-> IF c = n \/ n \in Out \/ (c \in Out /\ n \notin Behind) THEN None ELSE 1]]
  /\ appl = [n \in Node |-> Zero] /\ vis = [n \in Node |-> Zero] /\ vp = [n \in Node |-> Zero]
  /\ sp = [n \in Node |-> [c \in Node |-> << >>]]
  /\ oa = [n \in Node |-> [c \in Node |-> [a |-> 0, d |-> 0]]]
  /\ mk = [n \in Node |-> IF n \in Out THEN << >> ELSE IF Begun(n) = 1 THEN << << 1, 0 >> >> ELSE << << 2, 1 >> >>]
  /\ log = [n \in Node |-> LET one == << Marker(1, << << 1, 0 >> >>) >> IN
                           IF Begun(n) = 1 THEN one ELSE Append(one, Marker(2, << << 2, 1 >> >>))]
  /\ dl = [n \in Node |-> Len(log[n])] /\ pd = dl /\ st = dl
  /\ idx = [n \in Node |-> NoIdx] /\ fw = [n \in Node |-> {}] /\ lent = [n \in Node |-> {}]
  /\ hd = [n \in Node |-> Begun(n)] /\ ok = hd /\ l0 = Zero /\ saw = Zero
  /\ fl = [n \in Node |-> FALSE] /\ inco = [n \in Node |-> FALSE] /\ tr = [n \in Node |-> Blank]
  /\ ans = [k \in Keys |-> 0] /\ red = [k \in Keys |-> 0] /\ per = [k \in Keys |-> 0]
  /\ minted = {} /\ dup = FALSE
  /\ nw = 0 /\ np = 0 /\ nc = 0 /\ nf = 0 /\ nd = 0

\* ---- what follows from every step -----------------------------------------
\* Advance (advance.go) at all nodes at once, but for the visible watermark:
\* that is Commit and LearnVal, since late is worse there.
Gates == [c \in Node |-> IF ~Running(c) \/ str[c] = << >> THEN [a |-> 0, d |-> 0]
                         ELSE LET d == TLCEval(Everywhere(c, "durable")) IN
                              [a |-> IF AnswerOn = "durable" THEN d ELSE Everywhere(c, "applied"), d |-> d]]
Answered(own, k, g) == {own[s].ts : s \in {x \in 1..g : own[x].w /\ own[x].k = k}}
Persisted(own, k, g) == LET S == {x \in 1..g : own[x].k = Persist} IN
                        IF S = {} THEN {} ELSE {own[x].ts : x \in {y \in 1..Max(S) : own[y].w /\ own[y].k = k}}
Readable(n, k) == IF MayRead(n) /\ ~Locked(n, k) THEN Ts(n, k) ELSE 0

\* what a cold start may lose: everything but what the model promises
Keep(a, r, p) == IF ~PowerFail \/ Model = "synchronous" THEN [a |-> a, r |-> r]
                 ELSE IF Model = "strict" THEN [a |-> a, r |-> [k \in Keys |-> Mn(r[k], a[k])]]
                 ELSE IF Model = "read-enforced" THEN [a |-> [k \in Keys |-> Mn(a[k], r[k])], r |-> r]
                 ELSE [a |-> p, r |-> p]

\* A view settles.
Settle == ok' = TLCEval([n \in Node |-> IF ok[n] # hd'[n] /\ Running(n)' /\ AllSettled(n)' THEN hd'[n] ELSE ok[n]])

\* What is answered, could be read, is persisted.
Answer(g) ==
  /\ LET cold == Len(views') > Len(views) /\ Last'.cold
         was == IF cold THEN Keep(ans, red, per) ELSE [a |-> ans, r |-> red]
     IN /\ ans' = [k \in Keys |-> Max({was.a[k]} \cup UNION {Answered(str'[c], k, g[c].a) : c \in Node})]
        /\ red' = [k \in Keys |-> Max({was.r[k]} \cup {Readable(n, k)' : n \in Node})]
        /\ per' = IF Model # "scope" THEN per
                  ELSE [k \in Keys |-> Max({per[k]} \cup UNION {Persisted(str'[c], k, g[c].d) : c \in Node})]

Ripple == \E g \in {TLCEval(Gates')} :     \* TLCEval: once, not at each use
  /\ cd' = TLCEval([c \in Node |-> IF str'[c] = << >> THEN 0 ELSE Mx(cd[c], g[c].d)])
  /\ vp' = TLCEval([n \in Node |-> [c \in Node |->
             IF c = n THEN cd'[n]
             ELSE IF fol'[n][c] = None THEN 0
             ELSE IF fol'[n][c] # fol[n][c] THEN appl'[n][c]
             ELSE IF fol'[n][c] = inc'[c] /\ (ve'[c] <= ve'[n] \/ ~Cure("H3")) THEN Mx(vp[n][c], Mn(appl'[n][c], cd'[c]))
             ELSE vp[n][c]]])
  /\ Settle
  /\ st' = [n \in Node |-> LET keep == Mn(st[n], Len(log'[n])) IN
             IF ~Running(n)' \/ ok'[n] # hd'[n] \/ fw'[n] # {} THEN keep ELSE Mx(keep, Floor(n)')]
  /\ Answer(g)

\* ---- clients ---------------------------------------------------------------
NewTS(n, k) == LET t == Ts(n, k) IN
               IF ~Cure("H5") THEN TS(1, VerOf(t) + 1, n)
               ELSE IF EpochOf(t) = ve[n] THEN TS(ve[n], VerOf(t) + 1, n) ELSE TS(ve[n], 1, n)

\* A flush covers what lies above the flushed mark; a gap below stays (H21).
FlushTo(n, p) == dl' = [dl EXCEPT ![n] = p] /\ pd' = [pd EXCEPT ![n] = IF pd[n] = dl[n] THEN p ELSE @]

\* A node that is not lazy has flushed before anybody sees the step.
LogIs(n, l) == /\ log' = [log EXCEPT ![n] = l]
               /\ IF n \in Lazy THEN UNCHANGED << dl, pd >>
                  ELSE FlushTo(n, Len(l))

\* Pending work on a key ends when the index moves on.
Off(S, k) == {x \in S : x[1] # k}
OffLent(S, k) == {x \in S : x.k # k}

\* Shard.appendOwn: own log, index, stream
AppendOwn(n, k, t, w) ==
  LET p == Len(log[n]) + 1 IN
  /\ str' = [str EXCEPT ![n] = Append(@, [k |-> k, ts |-> t, ep |-> ve[n], w |-> w])]
  /\ LogIs(n, Append(log[n], Rec(k, t, n, inc[n], Len(str[n]) + 1, FALSE)))
  /\ sp' = [sp EXCEPT ![n][n] = Append(@, [b |-> p - 1, a |-> p, p |-> p])]
  /\ idx' = [idx EXCEPT ![n][k] = [p |-> p, lk |-> TRUE]]
  /\ fw' = [fw EXCEPT ![n] = Off(@, k)]
  /\ lent' = [lent EXCEPT ![n] = OffLent(@, k)]

\* Shard.Write
Write(c, k) ==
  /\ c \in Writers /\ nw < MaxWrites /\ Serving(c) /\ fw[c] = {} /\ EpochOf(Ts(c, k)) <= ve[c]
  /\ AppendOwn(c, k, NewTS(c, k), TRUE)
  /\ dup' = (dup \/ << k, NewTS(c, k) >> \in minted) /\ minted' = minted \cup {<< k, NewTS(c, k) >>}
  /\ nw' = nw + 1
  /\ UNCHANGED << views, nodeV, cm, fd, oa, fol, appl, vis, posV, wayV, np, nc, nf, nd >>

\* Shard.Persist: an entry that asks for a flush
Wrote(c) == \E s \in 1..Len(str[c]) : str[c][s].w      \* else there is nothing to persist
DoPersist(c) ==
  /\ Model = "scope" /\ c \in Writers /\ np < MaxPersists /\ Serving(c) /\ Wrote(c)
  /\ str' = [str EXCEPT ![c] = Append(@, [k |-> Persist, ts |-> 0, ep |-> ve[c], w |-> FALSE])]
  /\ sp' = [sp EXCEPT ![c][c] = Append(@, [b |-> Len(log[c]), a |-> Len(log[c]), p |-> 0])]
  /\ np' = np + 1
  /\ UNCHANGED << views, nodeV, cm, fd, oa, fol, appl, vis, diskV, dataV, posV, wayV, histV, nw, nc, nf, nd >>

\* ---- follower --------------------------------------------------------------
\* Shard.OnStream, apply: one entry
Apply(n, c) ==
  /\ n # c /\ Running(n) /\ fol[n][c] = inc[c] /\ appl[n][c] < Len(str[c])
  /\ LET e == str[c][appl[n][c] + 1]
         tail == Len(log[n])
         wins == e.k # Persist /\ e.ts >= Ts(n, e.k)
         p == IF wins THEN tail + 1 ELSE 0
     IN
     /\ e.ep <= ve[n] \/ ~Cure("H4")
     /\ appl' = [appl EXCEPT ![n][c] = @ + 1]
     /\ IF wins
        THEN /\ LogIs(n, Append(log[n], Rec(e.k, e.ts, c, inc[c], appl[n][c] + 1, FALSE)))
             /\ idx' = [idx EXCEPT ![n][e.k] = [p |-> p, lk |-> e.ts > Ts(n, e.k) \/ idx[n][e.k].lk]]
             /\ fw' = [fw EXCEPT ![n] = Off(@, e.k)]
             /\ lent' = [lent EXCEPT ![n] = OffLent(@, e.k)]
        ELSE UNCHANGED << diskV, dataV >>
     /\ sp' = [sp EXCEPT ![n][c] = Append(@, [b |-> tail, a |-> IF wins \/ Cure("H11") THEN Len(log'[n]) ELSE 0, p |-> p])]
  /\ UNCHANGED << views, nodeV, coordV, fol, vis, posV, wayV, histV, countV >>

\* Worker.flush
Flush(n) ==
  /\ Running(n) /\ dl[n] < Len(log[n])
  /\ FlushTo(n, Len(log[n]))
  /\ UNCHANGED << views, nodeV, coordV, followV, log, dataV, posV, wayV, histV, countV >>

\* entries from..to of c's stream become visible at n
Unlock(n, c, from, to) ==
  LET S == {s \in from+1..to : s \in DOMAIN sp[n][c] /\ sp[n][c][s].p # 0}
      P == {sp[n][c][s].p : s \in S}
  IN /\ idx' = [idx EXCEPT ![n] = [k \in Keys |-> IF @[k].p \in P THEN [p |-> @[k].p, lk |-> FALSE] ELSE @[k]]]
     /\ fw' = [fw EXCEPT ![n] = {x \in @ : x[2] \notin P}]
     /\ lent' = [lent EXCEPT ![n] = {x \in @ : x.p \notin P}]

\* complete: the own stream's visible watermark
CommitTo(c, w) ==
  /\ Running(c) /\ cm[c] < w /\ w <= Everywhere(c, ReadOn)
  /\ cm' = [cm EXCEPT ![c] = w]
  /\ Unlock(c, c, cm[c], w)
  /\ UNCHANGED << views, nodeV, str, fd, oa, followV, diskV, posV, wayV, histV, countV >>

Commit(c) == Running(c) /\ CommitTo(c, Everywhere(c, ReadOn))

\* OnMarks, validate: VAL
LearnTo(n, c, w) ==
  /\ vis[n][c] < w /\ w <= appl[n][c]
  /\ vis' = [vis EXCEPT ![n][c] = w]
  /\ Unlock(n, c, vis[n][c], w)
  /\ UNCHANGED << views, nodeV, coordV, fol, appl, sp, diskV, posV, wayV, histV, countV >>

LearnVal(n, c) ==
  /\ n # c /\ Running(n) /\ fol[n][c] = inc[c]
  /\ ve[c] <= ve[n] \/ ~Cure("H3")
  /\ LearnTo(n, c, Mn(cm[c], appl[n][c]))

\* RollForward: one record of somebody who is gone, or an own leftover
Roll(n) ==
  /\ Running(n) /\ fw[n] # {}
  /\ \E x \in fw[n] : AppendOwn(n, x[1], At(n, x[2]).ts, FALSE)
  /\ UNCHANGED << views, nodeV, cm, fd, oa, fol, appl, vis, posV, wayV, histV, countV >>

\* ---- faults ----------------------------------------------------------------
\* Without Cold, a live member of the last view goes on in its life.
Spare(n) == Cold \/ \E m \in Last.live \ {n} : ~Gone(m) /\ ls[m]

\* How long the log of a node may be that has failed.
Left(n) == (IF PowerFail THEN {pd[n], Len(log[n])} ELSE {Len(log[n])}) \cup (IF OldCopy THEN {1} ELSE {})

\* Process or machine: up to all that was not flushed is lost. What the others
\* may still take from its ring and its watermark lines stays until it is back.
Crash(n) ==
  /\ n \in Frail /\ up[n] /\ nc < MaxCrashes /\ Spare(n) /\ nc' = nc + 1
  /\ up' = [up EXCEPT ![n] = FALSE] /\ ls' = [ls EXCEPT ![n] = FALSE]
  /\ \E keep \in Left(n) :
       /\ log' = [log EXCEPT ![n] = SubSeq(@, 1, keep)]
       /\ pd' = [pd EXCEPT ![n] = Mn(@, keep)]
  /\ saw' = [saw EXCEPT ![n] = dl[n]]
  /\ idx' = [idx EXCEPT ![n] = NoIdx] /\ fw' = [fw EXCEPT ![n] = {}] /\ lent' = [lent EXCEPT ![n] = {}]
  /\ mk' = [mk EXCEPT ![n] = << >>] /\ tr' = [tr EXCEPT ![n] = Blank]
  /\ UNCHANGED << views, ve, inc, coordV, followV, dl, hd, l0, fl, inco, histV, nw, np, nf, nd >>

\* The lease runs out: the node stood still, or was cut off.
Fence(n) ==
  /\ n \in Frail /\ ls[n] /\ nf < MaxFences /\ Spare(n) /\ Live(n) /\ nf' = nf + 1
  /\ ls' = [ls EXCEPT ![n] = FALSE]
  /\ UNCHANGED << views, ve, up, inc, coordV, followV, diskV, dataV, posV, wayV, histV, nw, np, nc, nd >>

Regain(n) ==
  /\ up[n] /\ ~ls[n] /\ n \in Last.live /\ inc[n] = Last.inc[n]
  /\ ls' = [ls EXCEPT ![n] = TRUE]
  /\ UNCHANGED << views, ve, up, inc, coordV, followV, diskV, dataV, posV, wayV, histV, countV >>

\* A life that was a member and is not any more ends (J5); so does that of a
\* cold member when another one of the cold start has died (rejoin.cold).
Over(n) == up[n] /\ ve[n] > 0 /\ \/ ~Has(Len(views), n, inc[n])
                                 \/ Last.cold /\ \E m \in Last.sh : inc[m] > Last.inc[m]

\* pmem.Open and a new incarnation
Restart(n) ==
  /\ n \notin Stay /\ (~up[n] \/ Over(n))
  /\ Early \/ Cold \/ ~Has(Len(views), n, inc[n]) \/ Last.cold
  /\ up' = [up EXCEPT ![n] = TRUE] /\ ls' = [ls EXCEPT ![n] = FALSE]
  /\ inc' = [inc EXCEPT ![n] = @ + 1] /\ ve' = [ve EXCEPT ![n] = 0]
  /\ str' = [str EXCEPT ![n] = << >>] /\ cm' = [cm EXCEPT ![n] = 0] /\ fd' = [fd EXCEPT ![n] = Zero]
  /\ oa' = [c \in Node |-> IF Cure("H9") THEN oa[c]
                           ELSE [oa[c] EXCEPT ![n] = IF ve[c] > 0 /\ c # n THEN [a |-> AckA(c, n), d |-> AckD(c, n)] ELSE @]]
  /\ fol' = [fol EXCEPT ![n] = [c \in Node |-> None]] /\ appl' = [appl EXCEPT ![n] = Zero]
  /\ vis' = [vis EXCEPT ![n] = Zero] /\ sp' = [sp EXCEPT ![n] = [c \in Node |-> << >>]]
  /\ dl' = [dl EXCEPT ![n] = Len(log[n])]
  /\ pd' = [pd EXCEPT ![n] = IF Cure("H21") THEN Len(log[n]) ELSE @]
  /\ idx' = [idx EXCEPT ![n] = [k \in Keys |-> LET p == Newest(log[n], k) IN [p |-> p, lk |-> p > st[n]]]]
  /\ fw' = [fw EXCEPT ![n] = {}] /\ lent' = [lent EXCEPT ![n] = {}]
  /\ mk' = [mk EXCEPT ![n] = LET S == {i \in 1..Len(log[n]) : log[n][i].k = View0} IN
                             IF S = {} THEN << >> ELSE log[n][Max(S)].list]
  /\ hd' = [hd EXCEPT ![n] = 0] /\ l0' = [l0 EXCEPT ![n] = Len(log[n])]
  /\ tr' = [tr EXCEPT ![n] = Blank]
  \* a member that saw the pool flush more than came back: an older copy (H19)
  /\ LET stale == Cure("H19") /\ saw[n] > Len(log[n]) /\ \E m \in Last.live \ {n} : ~Gone(m) IN
     \E full \in (IF stale \/ (inco[n] /\ Cure("H17")) THEN {TRUE} ELSE IF FullCopy THEN BOOLEAN ELSE {FALSE}) :
       fl' = [fl EXCEPT ![n] = full]
  /\ saw' = [saw EXCEPT ![n] = 0]
  /\ UNCHANGED << views, log, inco, histV, countV >>

\* ---- the register ----------------------------------------------------------
Majority == (Witness + Cardinality({n \in Node : up[n]})) * 2 > Witness + Cardinality(Node)
Lost == {n \in Last.live : Gone(n)}
Decide(live, sh, incs, zero, cold) ==
  /\ Majority /\ Len(views) < MaxEpoch
  /\ views' = Append(views, [live |-> live, sh |-> sh, inc |-> incs, cold |-> cold,
       until |-> [n \in Node |-> IF n \in zero THEN 0
                                 ELSE IF n \in Last.live \/ (n \in Last.sh /\ ~Cure("H2")) THEN Len(views) ELSE Last.until[n]]])
  /\ UNCHANGED << nodeV, coordV, followV, diskV, dataV, posV, histV >>

\* Update by the failure detector: the life has ended or its lease has run out.
\* Somebody who stays must run.
Remove(f) ==
  /\ f \in Mem(Len(views)) /\ (Gone(f) \/ (f \in Last.live /\ Live(f) /\ ~ls[f]))
  /\ \E m \in Last.live \ {f} : ~Gone(m)
  /\ Decide(Last.live \ {f}, Last.sh \ {f}, Last.inc, {}, FALSE) /\ UNCHANGED << wayV, countV >>

\* A shadow holds no lease and is dropped at once, also by mistake.
DropShadow(f) ==
  /\ nd < MaxDrops /\ f \in Last.sh /\ f \in Frail /\ ~Last.cold /\ \E m \in Last.live : ~Gone(m)
  /\ nd' = nd + 1
  /\ Decide(Last.live, Last.sh \ {f}, Last.inc, {}, FALSE) /\ UNCHANGED << wayV, nw, np, nc, nf >>

\* Life.enter for a full copy: the records go, the durable flag stays up
Discard(f) ==
  /\ up[f] /\ ve[f] = 0 /\ fl[f] /\ ~inco[f] /\ f \notin Last.live
  /\ log' = [log EXCEPT ![f] = << >>] /\ dl' = [dl EXCEPT ![f] = 0] /\ pd' = [pd EXCEPT ![f] = 0]
  /\ idx' = [idx EXCEPT ![f] = NoIdx] /\ mk' = [mk EXCEPT ![f] = << >>] /\ l0' = [l0 EXCEPT ![f] = 0]
  /\ inco' = [inco EXCEPT ![f] = TRUE]
  /\ UNCHANGED << views, nodeV, coordV, followV, fw, lent, hd, saw, fl, tr, histV, countV >>

\* rejoin.outside, Admit: all members are connected; the former life may still be in the view
Join(f) ==
  /\ up[f] /\ ve[f] = 0 /\ inc[f] > Last.inc[f]
  /\ \A m \in Mem(Len(views)) \ {f} : ~Gone(m)
  /\ Last.live \ {f} # {}
  /\ IF fl[f] /\ f \in Last.live
     THEN Decide(Last.live \ {f}, Last.sh, Last.inc, {}, FALSE)     \* out of the view first
     ELSE /\ fl[f] => inco[f]
          /\ Decide(Last.live \ {f}, Last.sh \cup {f}, [Last.inc EXCEPT ![f] = inc[f]],
                    IF fl[f] /\ Cure("H17") THEN {f} ELSE {}, FALSE)
  /\ UNCHANGED << wayV, countV >>

Promote(f) ==
  /\ f \in Last.sh /\ ~Last.cold /\ Running(f) /\ tr[f].ph = 5 /\ tr[f].e = Len(views)
  /\ Decide(Last.live \cup {f}, Last.sh \ {f}, Last.inc, {}, FALSE)
  /\ inco' = [inco EXCEPT ![f] = FALSE] /\ UNCHANGED << fl, tr, countV >>

\* rejoin.coldCandidate: all live members of the last view are back, none runs in its life
ColdStart ==
  LET last == IF Last.live # {} THEN Last.live ELSE IF Last.cold THEN Last.sh ELSE {}
      back(n) == up[n] /\ ve[n] = 0 /\ inc[n] > Last.inc[n]
  IN \E S \in (IF Cure("H15") THEN {last} ELSE SUBSET {n \in Node : back(n)}) :
       /\ S # {} /\ \A n \in S : back(n) /\ (~inco[n] \/ ~Cure("H15"))
       /\ \A n \in Last.live : Gone(n)
       /\ Decide({}, S, [n \in Node |-> IF n \in S THEN inc[n] ELSE Last.inc[n]], {}, TRUE)
       /\ UNCHANGED << wayV, countV >>

PromoteCold ==
  /\ Last.cold /\ \A f \in Last.sh : ~Gone(f) /\ tr[f].ph = 5 /\ tr[f].e = Len(views)
  /\ Decide(Last.sh, {}, Last.inc, {}, FALSE) /\ UNCHANGED << wayV, countV >>

\* ---- installing a view -----------------------------------------------------
\* neededMarker: the first above some absent node's liveUntil
Needed(list, i, v) == \E a \in Node \ v.live : v.until[a] > 0 /\ list[i][1] > v.until[a] /\ (i = 1 \/ list[i-1][1] <= v.until[a])
Kept(list, v) == LET S == {i \in 1..Len(list) : Needed(list, i, v)}
                     nth(j) == CHOOSE i \in S : Cardinality({x \in S : x <= i}) = j
                 IN IF Cure("MARKERS") THEN [j \in 1..Cardinality(S) |-> list[nth(j)]] ELSE << >>

\* Where n starts to feed a new member.
FeedFrom(n) == IF ~Cure("H6") THEN Len(str[n])
               ELSE IF ~Cure("H18") /\ ve[n] > 0 THEN Mx(cm[n], Everywhere(n, "applied")) ELSE cm[n]

\* Life.install, Worker.InstallView, Shard.Install. Views may be skipped.
Install(n, e) ==
  /\ up[n] /\ e > ve[n] /\ Has(e, n, inc[n])
  /\ LET v == views[e]
         first == ve[n] = 0
         gone == IF first THEN {} ELSE {c \in Mem(ve[n]) \ {n} : ~Has(e, c, views[ve[n]].inc[c])}
         fresh == {c \in Mem(e) \ {n} : first \/ ~Has(ve[n], c, v.inc[c])}
         promoted == ~first /\ n \notin views[ve[n]].live /\ n \in v.live
         \* both ends have installed the other one's life: streams flow
         met == {c \in fresh : inc[c] = v.inc[c] /\ ve[c] > 0 /\ Has(ve[c], n, inc[n])}
         from == FeedFrom(n)
         fill(m) == [i \in 1..m |-> [b |-> 0, a |-> 0, p |-> 0]]
         \* forget: what is still locked of a gone member
         orphans == UNION {{<< k, idx[n][k].p >> : k \in {x \in Keys : Locked(n, x) /\
                       \E s \in vis[n][c]+1..appl[n][c] : sp[n][c][s].p = idx[n][x].p}} : c \in {x \in gone : fol[n][x] # None}}
         reclaimed == {x \in lent[n] : ~Has(e, x.o, x.i)}
         list == Append(Kept(mk[n], v), << e, IF first /\ ~Cure("H10") THEN Len(log[n]) ELSE st[n] >>)
     IN
     /\ ve' = [ve EXCEPT ![n] = e]
     \* a lease comes with the promotion, if no newer view is without n
     /\ ls' = [ls EXCEPT ![n] = @ \/ (n \in v.live /\ (first \/ n \notin views[ve[n]].live) /\ n \in Last.live /\ Last.inc[n] = inc[n])]
     /\ fw' = [fw EXCEPT ![n] = IF Cure("ROLL") THEN @ \cup orphans \cup {<< x.k, x.p >> : x \in reclaimed} ELSE @]
     /\ lent' = [lent EXCEPT ![n] = @ \ reclaimed]
     /\ mk' = [mk EXCEPT ![n] = list]
     /\ LogIs(n, Append(log[n], [k |-> View0, ep |-> e, list |-> list]))
     /\ hd' = [hd EXCEPT ![n] = IF ((gone # {} \/ promoted) /\ Cure("H16")) \/ first THEN e ELSE @]
     /\ fd' = [fd EXCEPT ![n] = [c \in Node |-> IF c \in fresh THEN from ELSE IF c \in gone THEN 0 ELSE @[c]]]
     /\ oa' = [oa EXCEPT ![n] = [c \in Node |-> IF c \in fresh /\ Cure("H9") THEN [a |-> 0, d |-> 0] ELSE @[c]]]
     /\ fol' = TLCEval([m \in Node |-> [c \in Node |->
           IF m = n THEN (IF c \in met THEN inc[c] ELSE IF c \in gone \cup fresh THEN None ELSE fol[n][c])
           ELSE IF c = n /\ m \in met THEN inc[n] ELSE fol[m][c]]])
     /\ appl' = TLCEval([m \in Node |-> [c \in Node |->
           IF m = n THEN (IF c \in met THEN fd[c][n] ELSE IF c \in gone \cup fresh THEN 0 ELSE appl[n][c])
           ELSE IF c = n /\ m \in met THEN from ELSE appl[m][c]]])
     /\ vis' = TLCEval([m \in Node |-> [c \in Node |->
           IF m = n THEN (IF c \in met THEN fd[c][n] ELSE IF c \in gone \cup fresh THEN 0 ELSE vis[n][c])
           ELSE IF c = n /\ m \in met THEN from ELSE vis[m][c]]])
     /\ sp' = TLCEval([m \in Node |-> [c \in Node |->
           IF m = n THEN (IF c \in met THEN fill(fd[c][n]) ELSE IF c \in gone \cup fresh THEN << >> ELSE sp[n][c])
           ELSE IF c = n /\ m \in met THEN fill(from) ELSE sp[m][c]]])
     /\ tr' = [tr EXCEPT ![n] = IF @.ph = 5 THEN [@ EXCEPT !.ph = 4] ELSE @]
  /\ UNCHANGED << views, up, inc, str, cm, idx, l0, saw, fl, inco, histV, countV >>

\* ---- the way back ----------------------------------------------------------
\* every member of view e has installed it
AllInstalled(e) == \A m \in Mem(e) : inc[m] = views[e].inc[m] /\ ve[m] >= e
Shadow(f) == Running(f) /\ f \in views[ve[f]].sh
Way(f, t) == tr' = [tr EXCEPT ![f] = t]

MissedFrom(b, until) ==
  LET S == {i \in 1..Len(mk[b]) : mk[b][i][1] > until} IN
  IF until = 0 \/ S = {} THEN [ok |-> FALSE, pos |-> 0] ELSE [ok |-> TRUE, pos |-> mk[b][Min(S)][2]]

Item(b, p) == LET r == At(b, p) IN [k |-> r.k, ts |-> r.ts, o |-> r.o, i |-> r.i, s |-> r.s, lk |-> idx[b][r.k].lk]
Current(b, p) == At(b, p).k # View0 /\ idx[b][At(b, p).k].p = p

\* Transfer, onRange: the buddy has taken in what the members published when
\* they installed the view, and lists what is current in the range
Begin(f, b) ==
  /\ Shadow(f) /\ ~views[ve[f]].cold /\ tr[f].ph = 0
  /\ AllInstalled(ve[f]) \/ ~Cure("H6")
  /\ b \in views[ve[f]].live /\ views[ve[f]].inc[b] = inc[b]
  /\ Live(b) /\ ve[b] >= ve[f] /\ f \in views[ve[b]].sh /\ views[ve[b]].inc[f] = inc[f]
  /\ Cure("H7") => \A c \in Mem(ve[b]) \ {b, f} :
       fol[b][c] = inc[c] /\ views[ve[b]].inc[c] = inc[c] => ve[c] > ve[b] \/ vis[b][c] >= Mn(fd[c][f], appl[b][c])
  /\ LET until == views[ve[b]].until[f]
         full == until = 0 \/ fl[f]
         r == MissedFrom(b, until)
         pos == IF full THEN 0 ELSE r.pos
         tail == Len(log[b])
         now == {Item(b, p) : p \in {q \in pos+1..tail : Current(b, q)}}
     IN /\ full \/ r.ok
        /\ Way(f, IF Walk THEN [ph |-> 1, b |-> b, bi |-> inc[b], e |-> 0, w |-> pos, to |-> tail, it |-> {}]
                  ELSE [ph |-> 2, b |-> b, bi |-> inc[b], e |-> 0, w |-> 0, to |-> 0, it |-> now])
  /\ UNCHANGED << views, nodeV, coordV, followV, diskV, dataV, posV, fl, inco, histV, countV >>

\* Life.list: record by record; the last step comes with the tail of then
WalkOn(f) ==
  LET t == tr[f]
      p == t.w + 1
      end == IF Cure("LIST") THEN Len(log[t.b]) ELSE t.to
  IN
  /\ up[f] /\ t.ph = 1 /\ up[t.b] /\ inc[t.b] = t.bi
  /\ Way(f, IF t.w >= end THEN [t EXCEPT !.ph = 2, !.w = 0, !.to = 0]
            ELSE [t EXCEPT !.w = p, !.it = IF Current(t.b, p) THEN @ \cup {Item(t.b, p)} ELSE @])
  /\ UNCHANGED << views, nodeV, coordV, followV, diskV, dataV, posV, fl, inco, histV, countV >>

\* Shard.Adopt: one record of the buddy
Pulls == {2}        \* the phases in which records are adopted
Adopt(f) ==
  /\ Running(f) /\ tr[f].ph \in Pulls
  /\ \E x \in tr[f].it :
       /\ \A y \in tr[f].it : y.k = x.k => y.ts >= x.ts
       /\ LET t == Ts(f, x.k)
              here == idx[f][x.k]
              known == x.o # f /\ fol[f][x.o] = x.i       \* the owner's stream is taken
              lk == IF ~Cure("H8") THEN FALSE
                    ELSE IF Cure("H7") /\ known /\ x.s <= vis[f][x.o] THEN FALSE ELSE x.lk
              p == Len(log[f]) + 1
              fromStream == here.p > l0[f] /\ ~At(f, here.p).ad
              mine == x.o = f \/ ~Has(ve[f], x.o, x.i)
          IN
          IF x.ts > t
          THEN /\ LogIs(f, Append(log[f], Rec(x.k, x.ts, x.o, x.i, x.s, TRUE)))
               /\ idx' = [idx EXCEPT ![f][x.k] = [p |-> p, lk |-> lk]]
               /\ fw' = [fw EXCEPT ![f] = Off(@, x.k) \cup (IF lk /\ mine /\ Cure("H7") THEN {<< x.k, p >>} ELSE {})]
               /\ lent' = [lent EXCEPT ![f] = OffLent(@, x.k) \cup
                            (IF lk /\ ~mine THEN {[k |-> x.k, p |-> p, o |-> x.o, i |-> x.i, s |-> x.s]} ELSE {})]
          ELSE IF x.ts = t /\ ~x.lk /\ here.lk /\ ~fromStream
          THEN /\ idx' = [idx EXCEPT ![f][x.k].lk = FALSE]
               /\ fw' = [fw EXCEPT ![f] = Off(@, x.k)] /\ lent' = [lent EXCEPT ![f] = OffLent(@, x.k)]
               /\ UNCHANGED diskV
          ELSE UNCHANGED << diskV, dataV >>
       /\ tr' = [tr EXCEPT ![f].it = @ \ {x}]
  /\ UNCHANGED << views, nodeV, coordV, followV, posV, fl, inco, histV, countV >>

\* The range counts only if the buddy is still the same life (J2).
BuddyLost(f) ==
  /\ up[f] /\ tr[f].ph \in {1, 2} /\ (~up[tr[f].b] \/ inc[tr[f].b] # tr[f].bi)
  /\ Way(f, Blank)
  /\ UNCHANGED << views, nodeV, coordV, followV, diskV, dataV, posV, fl, inco, histV, countV >>

RangeKept(f) == up[tr[f].b] /\ inc[tr[f].b] = tr[f].bi       \* the range was, to the end

\* heal.end, then Leftover: own records above the stable position which
\* nothing has replaced
Leftovers(f) ==
  /\ Shadow(f)
  /\ \/ tr[f].ph = 2 /\ tr[f].it = {} /\ RangeKept(f)
     \/ tr[f].ph = 0 /\ views[ve[f]].cold /\ AllInstalled(ve[f])
  /\ fw' = [fw EXCEPT ![f] = IF ~Cure("H13") THEN @
              ELSE @ \cup {<< k, idx[f][k].p >> : k \in {x \in Keys : Locked(f, x) /\ idx[f][x].p <= l0[f]}}]
  /\ Way(f, [Blank EXCEPT !.ph = 3])
  /\ UNCHANGED << views, nodeV, coordV, followV, diskV, idx, lent, posV, fl, inco, histV, countV >>

\* rollLeftovers has ended: the cursor is done, what it appended is visible everywhere
Rolled(f) ==
  /\ Running(f) /\ tr[f].ph = 3 /\ fw[f] = {} /\ cm[f] = Len(str[f]) /\ Everywhere(f, AnswerOn) = Len(str[f])
  /\ Way(f, [Blank EXCEPT !.ph = 4])
  /\ UNCHANGED << views, nodeV, coordV, followV, diskV, dataV, posV, fl, inco, histV, countV >>

\* flush before promotion
LastFlush(f) ==
  /\ Running(f) /\ tr[f].ph = 4 /\ AllInstalled(ve[f])
  /\ IF Cure("H1") THEN FlushTo(f, Len(log[f])) ELSE UNCHANGED << dl, pd >>
  /\ Way(f, [Blank EXCEPT !.ph = 5, !.e = ve[f]])
  /\ UNCHANGED << views, nodeV, coordV, followV, log, dataV, posV, fl, inco, histV, countV >>

\* ---- the whole -------------------------------------------------------------
Clients == \/ \E c \in Node, k \in Keys : Write(c, k)
           \/ \E c \in Node : DoPersist(c)
Faults == \E n \in Node : Crash(n) \/ Fence(n) \/ DropShadow(n)
NodeStep(n) == Flush(n) \/ Commit(n) \/ Roll(n) \/ Restart(n) \/ Regain(n) \/ Remove(n) \/ Discard(n) \/ Join(n)
               \/ WalkOn(n) \/ Adopt(n) \/ BuddyLost(n) \/ Leftovers(n) \/ Rolled(n) \/ LastFlush(n) \/ Promote(n)
PairStep(n, c) == Apply(n, c) \/ LearnVal(n, c) \/ Begin(n, c)
System == \/ \E n \in Node : NodeStep(n) \/ \E e \in 1..Len(views) : Install(n, e)
          \/ \E n, c \in Node : PairStep(n, c)
          \/ ColdStart \/ PromoteCold

\* Nothing is left to do: everybody serves, nothing is under way, nothing is locked.
Healed == /\ Last.live = Node
          /\ \A n \in Node : Serving(n) /\ ve[n] = Len(views) /\ inc[n] = Last.inc[n] /\ fw[n] = {} /\ cm[n] = Len(str[n])
          /\ \A n \in Node, k \in Keys : ~Locked(n, k)
          /\ \A n, c \in Node : n # c => fol[n][c] = inc[c] /\ appl[n][c] = Len(str[c]) /\ vis[n][c] = cm[c]
Rest == Healed /\ UNCHANGED << views, nodeV, coordV, followV, diskV, dataV, posV, wayV, histV, countV >>

Next == (Clients \/ Faults \/ System \/ Rest) /\ Ripple
Spec == Init /\ [][Next]_vars

\* ---- what must hold ---------------------------------------------------------
Hi(k) == Mx(ans[k], red[k])

\* I1 Two nodes that may serve and hold a key unlocked hold the same timestamp.
I1 == \A n, m \in Node, k \in Keys :
        Serving(n) /\ Serving(m) /\ ~Locked(n, k) /\ ~Locked(m, k) => Ts(n, k) = Ts(m, k)

\* I2 One timestamp, one value, for ever.
I2 == ~dup

\* I3 A node that may serve has, unlocked, nothing older than anything ever
\* answered, and gives a write a higher timestamp.
I3 == \A n \in Node, k \in Keys : Serving(n) => /\ ~Locked(n, k) => Ts(n, k) >= Hi(k)
                                                 /\ NewTS(n, k) > Hi(k)
\* with H12 left out, what a node may answer without a lease
I3Read == \A n \in Node, k \in Keys : MayRead(n) /\ ~Locked(n, k) => Ts(n, k) >= Hi(k)

\* I4 Synchronous, Strict: an answered write is durable at every live member.
I4 == AnswerOn = "durable" => \A n \in Node, k \in Keys : ans[k] > 0 /\ Serving(n) => Flushed(n, k) >= ans[k]

\* I5 Synchronous, Read-Enforced: what was read is durable at every live member.
I5 == ReadOn = "durable" => \A n \in Node, k \in Keys : red[k] > 0 /\ Serving(n) => Flushed(n, k) >= red[k]

\* I6 A PERSIST was answered: its scope is durable at every live member.
I6 == \A n \in Node, k \in Keys : per[k] > 0 /\ Serving(n) => Flushed(n, k) >= per[k]

\* I7 For a node that is away and comes back by range: everything answered is
\* durable there, or in the missed range for it at everybody who serves or is
\* about to.
I7 == \A f \in Node \ Mem(Len(views)), b \in Node, k \in Keys :
        (Serving(b) \/ (tr[b].ph >= 3 /\ ~Last.cold)) /\ ve[b] = Len(views) /\ Last.until[f] # 0 /\ (~inco[f] \/ ~Cure("H17")) /\ ~fl[f] /\ saw[f] <= Len(log[f]) =>
          LET r == MissedFrom(b, Last.until[f]) IN
          r.ok => \/ MaxTS(TLCEval(IF PowerFail THEN SubSeq(log[f], 1, pd[f]) ELSE log[f]), k) >= Hi(k)
                  \/ \E p \in r.pos+1..Len(log[b]) : log[b][p].k = k /\ log[b][p].ts >= Hi(k)

\* I8 Within one life a record's timestamp never decreases, nor do watermarks and positions.
I8 == [][\A n \in Node : inc'[n] = inc[n] /\ up[n] /\ up'[n] /\ inco'[n] = inco[n] =>
           /\ \A k \in Keys : Ts(n, k)' >= Ts(n, k)
           /\ cm'[n] >= cm[n] /\ cd'[n] >= cd[n] /\ st'[n] >= st[n] /\ dl'[n] >= dl[n]
           /\ \A c \in Node : fol'[n][c] = fol[n][c] =>
                appl'[n][c] >= appl[n][c] /\ vis'[n][c] >= vis[n][c] /\ vp'[n][c] >= vp[n][c]]_vars
I8State == \A n \in Node : Running(n) =>
             /\ st[n] <= dl[n]
             /\ cd[n] <= Len(str[n]) /\ cm[n] <= Len(str[n])
             /\ \A c \in Node \ {n} : fol[n][c] # None => vis[n][c] <= appl[n][c] /\ vp[n][c] <= appl[n][c]

\* I9 When a cold start is done all nodes are the same, and have what the model promised.
I9 == Last.cold /\ (\A f \in Last.sh : ~Gone(f) /\ tr[f].ph = 5 /\ tr[f].e = Len(views)) =>
        \A n, m \in Last.sh, k \in Keys : Ts(n, k) = Ts(m, k) /\ Ts(n, k) >= Hi(k)

\* I10 Faults over, everything ends and heals. Every step but Rest changes what
\* can only change finitely often, so "never stuck" (CHECK_DEADLOCK) says so for
\* every state; as a temporal property:
\* What I10 needs at each node: a locked record is somebody's work here. The
\* cursor's, the own stream's, a stream's that is taken, one's that will bring
\* it, or the way back's.
NoOrphan == \A n \in Node, k \in Keys : Running(n) /\ Locked(n, k) =>
              LET p == idx[n][k].p IN
              \/ << k, p >> \in fw[n]
              \/ \E s \in cm[n]+1..Len(str[n]) : sp[n][n][s].p = p
              \/ \E c \in Node \ {n} : fol[n][c] # None /\ \E s \in vis[n][c]+1..appl[n][c] : sp[n][c][s].p = p
              \/ \E x \in lent[n] : x.p = p /\ fol[n][x.o] = x.i /\ x.s > appl[n][x.o]
              \/ n \notin views[ve[n]].live /\ p <= l0[n] /\ tr[n].ph < 3
Fair == Spec /\ WF_vars(System /\ Ripple)
I10 == <>[]Healed

\* ---- leads: the part of the behaviours that a configuration looks at ---------
\* To a node that has come back with a record whose owner's stream has not yet
\* brought it, and dies again before anybody else has the record (L4).
LentLead ==
  /\ Len(views') > 2 => nw' = 1                                       \* the write comes first;
  /\ nc' = 0 => appl'[2][1] = 0 /\ appl'[3][1] = 0                     \* its stream is slow until
  /\ nc' > nc => ve[2] = Len(views) /\ 2 \in Last.live /\ ok[2] = hd[2] \* node 2 dies, live again
=============================================================================
