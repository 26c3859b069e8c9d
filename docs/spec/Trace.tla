------------------------------- MODULE Trace --------------------------------
(* Is what the shipped code did a behaviour of Heal? TraceData, which the     *)
(* simulator writes (heal/simulation, trace.go), holds runs of a small        *)
(* cluster: line by line what one node did and what it showed then. A trace   *)
(* is accepted if TLC finds steps of Heal from its beginning through its last *)
(* line; README.md, "Traces", says what is looked at and what is free.        *)
(*                                                                            *)
(* Between two lines about a node TLC looks for steps of that node that lead  *)
(* from the one to the other. Two things are weaker than in Heal, since the   *)
(* code learns of others by messages that take time, and Heal by looking:     *)
(*  - What only grows may be taken in late, and in part: acknowledgements,    *)
(*    visible and stable watermarks, stable positions (LateRipple, Learn,     *)
(*    CommitTo, Seen).                                                        *)
(*  - What a life has given counts until the other end has installed a view   *)
(*    without it, also when a new life of its node has begun (gave, shown).   *)
(* The invariants of Heal must hold all the same, at every line.              *)
EXTENDS Heal, TraceData

VARIABLES
  tn, ln,      \* trace, and the line that comes next
  gave,        \* [c][m]: what m's life acknowledged to c's before one of them went on
  shown,       \* [c]: what c's life published in its earlier views: sequence of [e, cm, cd]
  had          \* [f]: the buddy has confirmed the end of f's range

traceV == << tn, ln, gave, shown, had >>

\* ---- what Trace.cfg puts in the place of Heal's ------------------------------
AnyTS(e, v, n) == e * 1000 + v * 10 + n
AnyEpochOf(t) == t \div 1000
AnyVerOf(t) == (t % 1000) \div 10
AnyMajority == TRUE                              \* agreement is not looked at
AnyLeft(n) == IF PowerFail THEN pd[n]..Len(log[n]) ELSE {Len(log[n])}
AnyPulls == {1, 2}                               \* the list is still being made
AnyRangeKept(f) == had[f]
AnyWrote(c) == TRUE                              \* clients ask for an empty scope as well

RawA(c, m) == IF Follows(m, c) THEN appl[m][c] ELSE fd[c][m]
RawD(c, m) == IF Follows(m, c) THEN Dur(m, c) ELSE fd[c][m]
LateAckA(c, m) == IF m = c THEN Len(str[c]) ELSE Mx(gave[c][m].a, RawA(c, m))
LateAckD(c, m) == IF m = c THEN Dur(c, c) ELSE Mx(gave[c][m].d, RawD(c, m))

\* ---- memory ------------------------------------------------------------------
NoneGiven == [a |-> 0, d |-> 0]
SamePair(c, m) == /\ inc'[c] = inc[c] /\ ve[c] > 0 /\ ve'[c] > 0
                  /\ m \in Mem(ve[c]) /\ m \in Mem(ve[c])' /\ views[ve[c]].inc[m] = (views[ve[c]].inc[m])'
                  /\ views[ve[c]].inc[m] = views'[ve'[c]].inc[m]
Remember ==
  /\ gave' = IF fol' = fol /\ inc' = inc /\ ve' = ve THEN gave
             ELSE TLCEval([c \in Node |-> [m \in Node |->
               IF m = c \/ ~SamePair(c, m) THEN NoneGiven
               ELSE [a |-> Mx(gave[c][m].a, RawA(c, m)), d |-> Mx(gave[c][m].d, RawD(c, m))]]])
  /\ shown' = IF inc' = inc /\ ve' = ve THEN shown
              ELSE TLCEval([c \in Node |-> IF inc'[c] # inc[c] THEN << >>
                            ELSE IF ve[c] > 0 /\ ve'[c] # ve[c] THEN Append(shown[c], [e |-> ve[c], cm |-> cm[c], cd |-> cd[c]])
                            ELSE shown[c]])
  /\ had' = [f \in Node |-> had[f] /\ tr'[f].ph = 2]

\* the watermarks of c that somebody in view e may have read
ShownCm(c, e) == IF ve[c] <= e THEN cm[c] ELSE Max({0} \cup {shown[c][x].cm : x \in {y \in DOMAIN shown[c] : shown[c][y].e <= e}})
ShownCd(c, e) == IF ve[c] <= e THEN cd[c] ELSE Max({0} \cup {shown[c][x].cd : x \in {y \in DOMAIN shown[c] : shown[c][y].e <= e}})

\* Ripple, but what a node learns of others stays where it is until a line says
\* that it has moved (Seen).
LateRipple == \E g \in {TLCEval(Gates')} :
  /\ cd' = [c \in Node |-> IF str'[c] = << >> THEN 0 ELSE cd[c]]
  /\ vp' = [n \in Node |-> [c \in Node |-> IF c = n THEN cd'[n]
                                           ELSE IF fol'[n][c] = None THEN 0
                                           ELSE IF fol'[n][c] # fol[n][c] THEN appl'[n][c]
                                           ELSE vp[n][c]]]
  /\ st' = [n \in Node |-> Mn(st[n], Len(log'[n]))]
  /\ Settle
  /\ Answer(g)

Late == Remember /\ LateRipple

\* ---- the beginning: all nodes are live, nothing is written -------------------
T0 == TLCGet(1000 + tn)      \* Traces[tn], which TLC would make anew at each use
TraceInit ==
  /\ tn \in 1..Len(Traces) /\ ln = 1
  /\ views = T0.views
  /\ ve = [n \in Node |-> T0.start[n].ve] /\ up = [n \in Node |-> TRUE] /\ ls = up
  /\ inc = [n \in Node |-> 1]
  /\ str = [n \in Node |-> << >>] /\ cm = Zero /\ cd = Zero /\ fd = [n \in Node |-> Zero]
  /\ fol = [n \in Node |-> [c \in Node |-> IF c = n THEN None ELSE 1]]
  /\ appl = [n \in Node |-> Zero] /\ vis = [n \in Node |-> Zero] /\ vp = [n \in Node |-> Zero]
  /\ sp = [n \in Node |-> [c \in Node |-> << >>]]
  /\ oa = [n \in Node |-> [c \in Node |-> NoneGiven]]
  /\ log = [n \in Node |-> T0.start[n].add]
  /\ mk = [n \in Node |-> log[n][Len(log[n])].list]
  /\ dl = [n \in Node |-> T0.start[n].dl] /\ pd = dl /\ st = [n \in Node |-> T0.start[n].st]
  /\ idx = [n \in Node |-> NoIdx] /\ fw = [n \in Node |-> {}] /\ lent = [n \in Node |-> {}]
  /\ hd = ve /\ ok = ve /\ l0 = Zero /\ saw = Zero
  /\ fl = [n \in Node |-> FALSE] /\ inco = [n \in Node |-> FALSE] /\ tr = [n \in Node |-> Blank]
  /\ ans = [k \in Keys |-> 0] /\ red = [k \in Keys |-> 0] /\ per = [k \in Keys |-> 0]
  /\ minted = {} /\ dup = FALSE
  /\ nw = 0 /\ np = 0 /\ nc = 0 /\ nf = 0 /\ nd = 0
  /\ gave = [c \in Node |-> [m \in Node |-> NoneGiven]] /\ shown = [c \in Node |-> << >>] /\ had = [f \in Node |-> FALSE]
  /\ \A n \in Node : \A i \in DOMAIN log[n] : log[n][i].k = View0
  /\ Last.live = Node /\ st = dl

\* ---- one line ----------------------------------------------------------------

\* n's log goes no further than the line, and what it has that the line tells of
\* is as told.
LogFits(n, ob) == LET had0 == ob.len - Len(ob.add) IN
  /\ Len(log[n]) <= ob.len
  /\ \A i \in had0+1..Len(log[n]) : log[n][i] = ob.add[i - had0]
Fits(n, ob) ==
  /\ LogFits(n, ob) /\ dl[n] <= ob.dl /\ Len(str[n]) <= ob.ns /\ cm[n] <= ob.cm
  /\ \A c \in Node \ {n} : ob.f[c][1] = 1 => appl[n][c] <= ob.f[c][2] /\ vis[n][c] <= ob.f[c][3]

KeyOk(n, i, ob) == LET k == KeyAt[i] IN
  /\ idx[n][k].p = ob.ix[i][1]
  /\ idx[n][k].p = 0 \/ ob.ix[i][2] = 2 \/ idx[n][k].lk = (ob.ix[i][2] = 1)

\* n shows what the line says.
Shows(n, ob) ==
  /\ Fits(n, ob) /\ Len(log[n]) = ob.len /\ dl[n] = ob.dl
  /\ ve[n] = ob.ve /\ Len(str[n]) = ob.ns /\ cm[n] = ob.cm /\ fw[n] = ob.fw
  /\ \A i \in DOMAIN ob.ix : KeyOk(n, i, ob)
  /\ \A c \in Node \ {n} : ob.f[c][1] = 1 => fol[n][c] # None /\ appl[n][c] = ob.f[c][2] /\ vis[n][c] = ob.f[c][3]

Learn(n, c, w) ==
  /\ n # c /\ Running(n) /\ fol[n][c] = inc[c] /\ w <= ShownCm(c, ve[n])
  /\ LearnTo(n, c, w)

\* Steps of the way back that nobody need notice.
Quiet(f) == WalkOn(f) \/ Adopt(f) \/ Leftovers(f) \/ Rolled(f) \/ LastFlush(f)

Turn(n, ob) ==
  \/ ve[n] # ob.ve /\ Install(n, ob.ve)
  \/ \E f \in Node \ {n} : \/ tr[f].b = n /\ WalkOn(f)
                           \/ ob.pin > 0 /\ Begin(f, n) /\ tr'[f].w + 1 = ob.pin
  \/ \E c \in Node : ob.f[c][1] = 1 /\ appl[n][c] < ob.f[c][2] /\ Apply(n, c)
  \/ Roll(n)
  \/ Len(str[n]) < ob.ns /\ (DoPersist(n) \/ \E k \in Keys : Write(n, k))
  \/ dl[n] < ob.dl /\ Flush(n)
  \/ \E c \in Node \ {n} : ob.f[c][1] = 1 /\ Learn(n, c, ob.f[c][3])
  \/ CommitTo(n, ob.cm)
  \/ Regain(n)
  \/ Quiet(n)

\* The line is reached: what n has learnt of others since is taken in.
Seen(n, ob) ==
  /\ Shows(n, ob)
  /\ UNCHANGED << views, nodeV, coordV, followV, diskV, dataV, posV, wayV, histV, countV, ok, ans, red, per, gave, shown, had >>
  /\ cd' = [cd EXCEPT ![n] = ob.cd] /\ ob.cd >= cd[n] /\ ob.cd <= (IF ve[n] = 0 THEN cd[n] ELSE Mx(cd[n], Everywhere(n, "durable")))
  /\ vp' = [vp EXCEPT ![n] = [c \in Node |-> IF c = n THEN ob.cd ELSE IF ob.f[c][1] = 1 THEN ob.f[c][4] ELSE @[c]]]
  /\ \A c \in Node \ {n} : vp'[n][c] >= vp[n][c] /\ vp'[n][c] <= Mx(vp[n][c], Mn(appl[n][c], ShownCd(c, ve[n])))
  /\ st' = [st EXCEPT ![n] = ob.st] /\ ob.st >= st[n]
  /\ ob.st = st[n] \/ (Running(n) /\ ok[n] = hd[n] /\ fw[n] = {} /\ ob.st <= Floor(n)')

SameView(v, w, known) == \/ ~known
                         \/ /\ v.live = w.live /\ v.sh = w.sh /\ v.cold = w.cold /\ v.until = w.until
                            /\ \A n \in v.live \cup v.sh : v.inc[n] = w.inc[n]

\* The register; before it a lease may have run out.
Register(l) ==
  /\ ColdStart \/ PromoteCold \/ \E f \in Node : Remove(f) \/ Join(f) \/ Promote(f) \/ DropShadow(f)
  /\ SameView(views'[Len(views')], l.v, l.known)
Before(l) == \/ \E f \in Last.live \ l.v.live : Fence(f)
             \/ \E f \in Node : Quiet(f) /\ UNCHANGED << log, dl, pd, idx, fw >>

\* The stable position in the superblock may be an older one.
OlderStable(n, p) ==
  /\ ~up[n] \/ Over(n)
  /\ p < st[n] /\ st' = [st EXCEPT ![n] = p]
  /\ UNCHANGED << views, nodeV, coordV, followV, diskV, dataV, posV, wayV, histV, countV, cd, vp, ok, ans, red, per, gave, shown, had >>

Reborn(n, ob, full) ==
  /\ st[n] = ob.st /\ Len(log[n]) = ob.len /\ LogFits(n, ob)
  /\ Restart(n) /\ fl'[n] = full
  /\ \A i \in DOMAIN ob.ix : KeyOk(n, i, ob)'

\* Nothing of Heal moves.
Idle == UNCHANGED << vars, gave, shown >>

\* One step of line l; done: the line is behind it.
Step(l, done) ==
  \/ l.t = "turn" /\ ~done /\ Turn(l.n, l.ob) /\ Late /\ Fits(l.n, l.ob)'
  \/ l.t = "turn" /\ done /\ Seen(l.n, l.ob)
  \/ l.t = "view" /\ ~done /\ Before(l) /\ Late
  \/ l.t = "view" /\ done /\ Register(l) /\ Late
  \/ l.t = "crash" /\ done /\ Crash(l.n) /\ Late
  \/ l.t = "restart" /\ ~done /\ OlderStable(l.n, l.ob.st)
  \/ l.t = "restart" /\ done /\ Reborn(l.n, l.ob, l.full) /\ Late
  \/ l.t = "discard" /\ done /\ Discard(l.n) /\ Late
  \* what an earlier transfer has brought stays; the next one begins anew
  \/ /\ l.t = "begun" /\ done
     /\ IF tr[l.n].ph \in {1, 2}
        THEN /\ Way(l.n, Blank)
             /\ UNCHANGED << views, nodeV, coordV, followV, diskV, dataV, posV, fl, inco, histV, countV >>
             /\ Late
        ELSE Idle /\ UNCHANGED had
  \/ l.t = "fetched" /\ ~done /\ (WalkOn(l.n) \/ (Adopt(l.n) /\ UNCHANGED << log, idx >>)) /\ Late
  \/ /\ l.t = "fetched" /\ done
     /\ tr[l.n].ph = 2 /\ tr[l.n].it = {} /\ up[tr[l.n].b] /\ inc[tr[l.n].b] = tr[l.n].bi
     /\ Idle /\ had' = [had EXCEPT ![l.n] = TRUE]
  \/ l.t = "answered" /\ done /\ l.ts <= ans[l.k] /\ Idle /\ UNCHANGED had
  \* what a waiting read is given may have been superseded while it was locked
  \/ /\ l.t = "read" /\ done
     /\ \/ l.ts <= red[l.k]
        \/ \E c \in Node : \E s \in 1..cm[c] : str[c][s].k = l.k /\ str[c][s].ts = l.ts
     /\ Idle /\ UNCHANGED had

\* ---- the outcome ---------------------------------------------------------------
Broken == {x \in {<< "I1", I1 >>, << "I2", I2 >>, << "I3", I3 >>, << "I4", I4 >>, << "I5", I5 >>, << "I6", I6 >>, << "I7", I7 >>,
                  << "I8", I8State >>, << "I9", I9 >>} : ~x[2]}
Told == TLCGet(tn)
Report == ln' > ln =>
  /\ IF ln' > Told THEN TLCSet(tn, ln') /\ PrintT(<< "through", T0.name, ln >>) ELSE TRUE
  /\ IF Broken' # {} THEN PrintT(<< "broken", T0.name, ln, {x[1] : x \in Broken'} >>) /\ FALSE ELSE TRUE
  /\ IF ln' > Len(T0.lines) THEN PrintT(<< "accepted", T0.name >>) ELSE TRUE

ASSUME \A i \in 1..Len(Traces) : TLCSet(i, 0) /\ TLCSet(1000 + i, TLCEval(Traces[i]))

\* A line is bound before it is used: what is primed below must not be the next one.
TraceNext ==
  /\ ln <= Len(T0.lines) /\ tn' = tn
  /\ \E l \in {T0.lines[ln]}, done \in BOOLEAN : ln' = (IF done THEN ln + 1 ELSE ln) /\ Step(l, done)
  /\ Report
TraceSpec == TraceInit /\ [][TraceNext]_<< vars, traceV >>
=============================================================================
