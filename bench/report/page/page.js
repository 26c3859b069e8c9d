"use strict";
(() => {
const D = JSON.parse(document.getElementById("data").textContent);
const redraws = [];
const tip = document.getElementById("tip");
const css = v => getComputedStyle(document.documentElement).getPropertyValue(v).trim();
const dpr = () => window.devicePixelRatio || 1;

// ---- figures with units -------------------------------------------------
const group = s => s.replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f");
function num(v) {
  const a = Math.abs(v);
  if (a >= 1000) return group(String(Math.round(v)));
  if (a >= 100) return v.toFixed(0);
  if (a >= 10) return v.toFixed(1);
  return a === 0 ? "0" : v.toFixed(2);
}
const short = v => String(+v.toPrecision(3));
const rate = v => v >= 1e6 ? short(v / 1e6) + " M/s" : v >= 1e4 ? short(v / 1e3) + " k/s" : num(v) + " /s";
const us = v => v < 1000 ? short(v) + " µs" : v < 1e6 ? short(v / 1e3) + " ms" : short(v / 1e6) + " s";
const ms = v => Math.abs(v) >= 1000 ? (v / 1000).toFixed(3) + " s" : num(v) + " ms";

function ticks(a, b, n) {
  const raw = (b - a) / n, p = Math.pow(10, Math.floor(Math.log10(raw)));
  const step = [1, 2, 5, 10].map(k => k * p).find(s => s >= raw * 0.999);
  const out = [];
  for (let t = Math.ceil(a / step) * step; t <= b + step * 1e-9; t += step) out.push(Math.abs(t) < step / 1e6 ? 0 : t);
  return out;
}

// ---- one plot over time ---------------------------------------------------
// cfg: height, y "linear"|"log"|"rows", lines [{label, data, color, width, band, fill}],
// from, step (ms), fmt. A group shares the visible range and the crosshair.
const M = { l: 62, r: 10, b: 20 };
class Plot {
  constructor(canvas, group, cfg) {
    Object.assign(this, { canvas, group, cfg });
    group.plots.push(this);
    canvas.addEventListener("pointermove", e => group.move(this, e));
    canvas.addEventListener("pointerleave", () => group.leave());
    canvas.addEventListener("pointerdown", e => group.down(this, e));
    canvas.addEventListener("dblclick", () => group.reset());
  }
  get top() { return this.cfg.markers ? 6 + 16 * this.group.markRows : 8; }
  x(t) { const g = this.group; return M.l + (t - g.a) / (g.b - g.a) * (this.w - M.l - M.r); }
  t(x) { const g = this.group; return g.a + (x - M.l) / (this.w - M.l - M.r) * (g.b - g.a); }
  index(t) { return Math.floor((t - this.cfg.from) / this.cfg.step); }
  draw() {
    const c = this.canvas, r = dpr();
    this.w = c.clientWidth; this.h = this.cfg.height + (this.cfg.markers ? 16 * (this.group.markRows - 1) : 0);
    c.style.height = this.h + "px";
    if (c.width !== Math.round(this.w * r)) c.width = Math.round(this.w * r);
    if (c.height !== Math.round(this.h * r)) c.height = Math.round(this.h * r);
    const g = this.g = c.getContext("2d");
    g.setTransform(r, 0, 0, r, 0, 0);
    g.clearRect(0, 0, this.w, this.h);
    g.font = "11px system-ui, 'DejaVu Sans', sans-serif";
    this.y0 = this.h - M.b; this.y1 = this.top;
    this.shade(); this.axes();
    g.save(); g.beginPath(); g.rect(M.l, this.y1 - 4, this.w - M.l - M.r, this.y0 - this.y1 + 5); g.clip();
    if (this.cfg.y === "rows") this.rows(); else for (const l of this.cfg.lines) this.line(l);
    g.restore();
    this.marks(); this.cross();
  }
  shade() {
    const g = this.g;
    for (const p of this.group.phases) {
      const a = Math.max(this.x(p.from), M.l), b = Math.min(this.x(p.to), this.w - M.r);
      if (b <= a || p.name === "steady" || p.name === "after") continue;
      g.globalAlpha = p.name === "failover" ? 0.18 : 0.09; g.fillStyle = css("--ph-" + p.name);
      g.fillRect(a, this.y1, Math.max(b - a, 1), this.y0 - this.y1);
    }
    g.globalAlpha = 1;
  }
  scale() {
    const c = this.cfg;
    if (c.y === "log") {
      const lo = Math.log10(c.min), hi = Math.log10(c.max);
      return v => this.y0 - (Math.log10(Math.max(v, c.min)) - lo) / (hi - lo) * (this.y0 - this.y1);
    }
    return v => this.y0 - v / c.max * (this.y0 - this.y1);
  }
  axes() {
    const g = this.g, c = this.cfg, Y = this.scale();
    g.lineWidth = 1; g.textBaseline = "middle"; g.textAlign = "right";
    const ts = c.y === "rows" ? [] : c.y === "log" ? decades(c.min, c.max) : ticks(0, c.max, 4);
    for (const v of ts) {
      const y = Math.round(Y(v)) + 0.5;
      g.strokeStyle = css("--grid"); g.beginPath(); g.moveTo(M.l, y); g.lineTo(this.w - M.r, y); g.stroke();
      g.fillStyle = css("--soft"); g.fillText(c.fmt(v), M.l - 7, y);
    }
    g.textAlign = "center"; g.textBaseline = "top"; g.fillStyle = css("--soft");
    const G = this.group, span = G.b - G.a, xs = ticks(G.a, G.b, Math.max(3, this.w / 130));
    for (const t of xs) {
      const x = this.x(t);
      if (x > this.w - M.r - 14 || x < M.l) continue;
      g.strokeStyle = css("--line"); g.beginPath(); g.moveTo(Math.round(x) + 0.5, this.y0); g.lineTo(Math.round(x) + 0.5, this.y0 + 4); g.stroke();
      g.fillText(span > 4000 ? short(t / 1000) + " s" : short(t) + " ms", x, this.y0 + 6);
    }
    g.strokeStyle = css("--line"); g.beginPath(); g.moveTo(M.l, this.y0 + 0.5); g.lineTo(this.w - M.r, this.y0 + 0.5); g.stroke();
  }
  // columns: one entry for each pixel column that has samples: [x, min, max, mean]
  columns(data) {
    const { from, step } = this.cfg, G = this.group;
    const i0 = Math.max(0, this.index(G.a)), i1 = Math.min(data.length - 1, this.index(G.b));
    const out = []; let col = null;
    for (let i = i0; i <= i1; i++) {
      const v = data[i];
      if (v === 0 && this.cfg.y === "log") { col = null; out.push(null); continue; }
      const x = this.x(from + (i + 0.5) * step), px = Math.floor(x);
      if (col && col.px === px) { col.min = Math.min(col.min, v); col.max = Math.max(col.max, v); col.sum += v; col.n++; }
      else { col = { px, x, min: v, max: v, sum: v, n: 1 }; out.push(col); }
    }
    return out;
  }
  line(l) {
    const g = this.g, Y = this.scale(), cols = this.columns(l.data), log = this.cfg.y === "log", color = css(l.color);
    if (!log && cols.some(c => c && c.n > 2)) {
      g.globalAlpha = 0.22; g.strokeStyle = color; g.lineWidth = 1.2; g.beginPath();
      for (const c of cols) if (c) { g.moveTo(c.x, Y(c.min)); g.lineTo(c.x, Y(c.max)); }
      g.stroke(); g.globalAlpha = 1;
    }
    g.strokeStyle = color; g.lineWidth = l.width || 1.4; g.lineJoin = "round"; g.globalAlpha = l.alpha || 1;
    g.beginPath();
    let on = false;
    for (const c of cols) {
      if (!c) { on = false; continue; }
      const y = Y(log ? c.max : c.sum / c.n);
      if (on) g.lineTo(c.x, y); else { g.moveTo(c.x, y); if (log) g.lineTo(c.x + 0.8, y); }
      on = true;
    }
    g.stroke(); g.globalAlpha = 1;
  }
  rows() {
    const g = this.g, L = this.cfg.lines, H = (this.y0 - this.y1) / L.length;
    L.forEach((l, k) => {
      const base = Math.round(this.y1 + (k + 1) * H) - 0.5, top = H - 5, cols = this.columns(l.data), color = css(l.color);
      const y = v => base - Math.min(v / this.cfg.max, 1) * top;
      g.strokeStyle = css("--grid"); g.beginPath(); g.moveTo(M.l, base); g.lineTo(this.w - M.r, base); g.stroke();
      if (cols.length) {
        g.beginPath(); g.moveTo(cols[0].x, base);
        for (const c of cols) g.lineTo(c.x, y(c.sum / c.n));
        g.lineTo(cols[cols.length - 1].x, base); g.closePath();
        g.globalAlpha = 0.28; g.fillStyle = color; g.fill(); g.globalAlpha = 1;
        g.beginPath(); cols.forEach((c, i) => i ? g.lineTo(c.x, y(c.sum / c.n)) : g.moveTo(c.x, y(c.sum / c.n)));
        g.strokeStyle = color; g.lineWidth = 1; g.stroke();
      }
    });
    g.restore(); g.save();
    g.textAlign = "right"; g.textBaseline = "middle";
    L.forEach((l, k) => { g.fillStyle = l.strong ? css(l.color) : css("--soft"); g.fillText(l.label, M.l - 7, this.y1 + (k + 0.6) * H); });
  }
  marks() {
    const g = this.g;
    g.textAlign = "center"; g.textBaseline = "middle";
    for (const m of this.group.markers) {
      const x = this.x(m.t);
      if (x < M.l || x > this.w - M.r) continue;
      const color = css(m.color);
      g.strokeStyle = color; g.globalAlpha = 0.75; g.lineWidth = 1; g.setLineDash([3, 3]);
      g.beginPath(); g.moveTo(x, this.cfg.markers ? 8 + 16 * m.row : this.y1); g.lineTo(x, this.y0); g.stroke();
      g.setLineDash([]); g.globalAlpha = 1;
      if (this.cfg.markers) {
        g.fillStyle = color; g.beginPath(); g.arc(x, 8 + 16 * m.row, 7.5, 0, 7); g.fill();
        g.fillStyle = css("--card"); g.font = "600 10px system-ui, 'DejaVu Sans', sans-serif"; g.fillText(m.n, x, 8.5 + 16 * m.row);
      }
    }
  }
  cross() {
    const G = this.group, g = this.g;
    if (G.sel) {
      const a = this.x(G.sel[0]), b = this.x(G.sel[1]);
      g.globalAlpha = 0.14; g.fillStyle = css("--ink"); g.fillRect(Math.min(a, b), this.y1, Math.abs(b - a), this.y0 - this.y1); g.globalAlpha = 1;
    }
    if (G.at === null) return;
    const x = this.x(G.at);
    if (x < M.l || x > this.w - M.r) return;
    g.strokeStyle = css("--faint"); g.lineWidth = 1; g.beginPath(); g.moveTo(x, this.y1); g.lineTo(x, this.y0); g.stroke();
  }
}
function decades(lo, hi) {
  const out = [];
  for (let v = lo; v <= hi * 1.0001; v *= 10) out.push(v);
  return out;
}

// ---- plots that share time -----------------------------------------------
class Group {
  constructor(a, b, phases, markers, zero) {
    Object.assign(this, { a, b, a0: a, b0: b, phases, plots: [], at: null, sel: null, zero });
    this.markers = markers; this.rows = this.markRows = 1; this.peers = [this];
    new ResizeObserver(() => this.draw()).observe(document.body);
  }
  stagger() { // markers closer than a label go to the next row
    if (!this.plots.length) return;
    const p = this.plots[0]; p.w = p.canvas.clientWidth;
    const last = [];
    for (const m of this.markers) {
      const x = p.x(m.t); let r = 0;
      while (last[r] !== undefined && x - last[r] < 17 && r < 9) r++;
      m.row = r; last[r] = x;
    }
    this.rows = Math.max(1, ...this.markers.map(m => m.row + 1));
    this.markRows = Math.max(...this.peers.map(g => g.rows)); // so that plots side by side stay level
  }
  draw() { this.stagger(); for (const p of this.plots) p.draw(); }
  later() { if (!this.frame) this.frame = requestAnimationFrame(() => { this.frame = 0; this.draw(); }); }
  move(p, e) {
    const x = e.clientX - p.canvas.getBoundingClientRect().left;
    this.at = p.t(x);
    if (this.sel) this.sel[1] = this.at;
    this.later(); this.tip(e);
  }
  leave() { this.at = null; tip.style.display = "none"; this.later(); }
  down(p, e) {
    if (e.button !== 0 || e.pointerType === "touch") return;
    const t = p.t(e.clientX - p.canvas.getBoundingClientRect().left);
    this.sel = [t, t];
    const up = () => {
      window.removeEventListener("pointerup", up);
      const [a, b] = [Math.min(...this.sel), Math.max(...this.sel)];
      this.sel = null;
      if (b - a > (this.b - this.a) / 200) { this.a = Math.max(a, this.a0); this.b = Math.min(b, this.b0); }
      this.later();
    };
    window.addEventListener("pointerup", up);
  }
  reset() { this.a = this.a0; this.b = this.b0; this.later(); }
  tip(e) {
    const t = this.at, ph = this.phases.find(p => t >= p.from && t < p.to);
    tip.textContent = "";
    const head = document.createElement("b");
    head.textContent = (this.zero ? (t >= 0 ? "+" : "") : "") + ms(t) + (ph ? " · " + ph.name : "");
    tip.append(head);
    const tab = document.createElement("table");
    for (const p of this.plots) for (const l of p.cfg.lines) {
      const i = p.index(t), v = l.data[i];
      if (v === undefined) continue;
      const tr = tab.insertRow();
      tr.insertCell().textContent = (p.cfg.name ? p.cfg.name + " " : "") + l.label;
      tr.insertCell().textContent = p.cfg.y === "log" && v === 0 ? "–" : p.cfg.fmt(v);
    }
    tip.append(tab);
    tip.style.display = "block";
    const w = tip.offsetWidth, h = tip.offsetHeight;
    tip.style.left = Math.min(e.clientX + 16, window.innerWidth - w - 8) + "px";
    tip.style.top = Math.max(8, Math.min(e.clientY + 16, window.innerHeight - h - 8)) + "px";
  }
}

const el = (tag, cls, text) => { const e = document.createElement(tag); if (cls) e.className = cls; if (text !== undefined) e.textContent = text; return e; };
function caption(into, title, keys) {
  const c = el("div", "cap");
  c.append(el("b", "", title));
  for (const [label, color, box] of keys || []) {
    const k = el("span", "key"), i = el("i", box ? "box" : "");
    i.style.background = "var(" + color + ")";
    k.append(i, label); c.append(k);
  }
  into.append(c);
}
function plot(into, group, cfg) { const c = el("canvas"); into.append(c); return new Plot(c, group, cfg); }

const QUANT = [["p50", "--p50"], ["p99", "--p99"], ["p99.9", "--p999"]];
const quantLines = l => [
  { label: "max", data: l.max, color: "--max", width: 1, alpha: 0.7 },
  { label: "p99.9", data: l.p999, color: "--p999" }, { label: "p99", data: l.p99, color: "--p99" }, { label: "p50", data: l.p50, color: "--p50" }];
const peak = (arrays, at) => {
  let m = 0;
  for (const a of arrays) { const s = a.filter(v => v > 0).sort((x, y) => x - y); if (s.length) m = Math.max(m, s[Math.floor((s.length - 1) * at)]); }
  return m || 1;
};
function logRange(ls) {
  let lo = Infinity, hi = 1;
  for (const l of ls) { for (const v of l.p50) if (v > 0 && v < lo) lo = v; for (const v of l.max) if (v > hi) hi = v; }
  if (lo === Infinity) lo = 1;
  return [Math.pow(10, Math.floor(Math.log10(lo))), Math.pow(10, Math.ceil(Math.log10(Math.max(hi, lo * 10)) - 1e-9))];
}
const EVENT_COLORS = { killed: "--bad", process_gone: "--bad", suspected: "--ph-away", view_installed: "--ph-away", restarted: "--accent", first_read_served: "--good", promoted: "--good" };
const human = n => n.replaceAll("_", " ");
function markers(events, zero) {
  return events.map((e, i) => ({ t: e.t - zero, n: i + 1, name: e.name, label: human(e.name) + (e.node >= 0 ? " (node " + e.node + ")" : ""), color: EVENT_COLORS[e.name] || "--accent", row: 0 }));
}
function markList(into, marks) {
  const ol = el("ol", "marks");
  for (const m of marks) { const li = el("li"); const b = el("b", "", m.n); b.style.color = "var(" + m.color + ")"; li.append(b, " " + m.label + " · " + ms(m.t)); ol.append(li); }
  into.append(ol);
}
const phaseKeys = [["failover", "--ph-failover", 1], ["away", "--ph-away", 1], ["recovering", "--ph-recovering", 1]];

// ---- the whole run ----------------------------------------------------------
for (const box of document.querySelectorAll("[data-timeline]")) {
  const run = D.runs[+box.dataset.timeline], s = run.full;
  const end = s.from + s.step * s.total.length, mk = markers(run.events.filter(e => e.main), 0);
  const G = new Group(0, end, run.phases, mk, false);
  const win = s.step === 10 ? "10 ms windows" : ms(s.step) + " windows";
  caption(box, "Throughput, " + win, [["all nodes", "--total"], ["live nodes (without the killed one)", "--live"], ...phaseKeys]);
  plot(box, G, { height: 220, y: "linear", name: "", max: peak([s.total], 0.995) * 1.12, from: s.from, step: s.step, fmt: rate, markers: true,
    lines: [{ label: "all nodes", data: s.total, color: "--total", width: 1.5 }, { label: "live nodes", data: s.live, color: "--live", width: 1.2 }] });
  caption(box, "Each node, same scale", [["killed node", "--victim", 1], ["others", "--node", 1]]);
  plot(box, G, { height: 30 * run.nodes.length + 30, y: "rows", max: peak(s.nodes, 0.99) * 1.1, from: s.from, step: s.step, fmt: rate,
    lines: run.nodes.map((n, k) => ({ label: "node " + n, data: s.nodes[k], color: n === run.victim ? "--victim" : "--node", strong: n === run.victim })) });
  for (const [title, l] of [["Write", s.w], ["Read", s.r]]) {
    if (!l.max.some(v => v > 0)) continue;
    const [lo, hi] = logRange([l]);
    caption(box, title + " latency, all nodes, log scale", [...QUANT, ["max", "--max"]]);
    plot(box, G, { height: 170, y: "log", name: title.toLowerCase(), min: lo, max: hi, from: s.from, step: s.step, fmt: us, lines: quantLines(l) });
  }
  markList(box, mk);
  G.draw();
}

// ---- zooms, side by side on one scale -----------------------------------------
function zooms(attr, pick, zeroOf, wanted, lines) {
  const boxes = [...document.querySelectorAll("[" + attr + "]")];
  const all = boxes.map(b => D.runs[+b.getAttribute(attr)]);
  if (!all.length) return;
  let a = Infinity, b = -Infinity;
  for (const r of all) { const s = pick(r); a = Math.min(a, s.from - zeroOf(r)); b = Math.max(b, s.from + s.step * s.total.length - zeroOf(r)); }
  const max = Math.max(...all.map(r => peak([pick(r).total], 0.995))) * 1.12;
  const ranges = { w: logRange(all.map(r => pick(r).w)), r: logRange(all.map(r => pick(r).r)) };
  const peers = [];
  boxes.forEach((box, k) => {
    const r = all[k], s = pick(r), zero = zeroOf(r), v = r.nodes.indexOf(r.victim);
    const mk = markers(r.events.filter(e => wanted(e, r)), zero);
    const G = new Group(a, b, r.phases.map(p => ({ name: p.name, from: p.from - zero, to: p.to - zero })), mk, true);
    G.peers = peers; peers.push(G);
    caption(box, "Throughput", [["all", "--total"], ["live", "--live"], ["killed node", "--victim"]]);
    plot(box, G, { height: 210, y: "linear", max, from: s.from - zero, step: s.step, fmt: rate, markers: true, lines: [
      { label: "all nodes", data: s.total, color: "--total", width: 1.5 }, { label: "live nodes", data: s.live, color: "--live", width: 1.3 },
      { label: "node " + r.victim, data: s.nodes[v], color: "--victim", width: 1.3 }] });
    for (const [title, l, range] of [["Write", s.w, ranges.w], ["Read", s.r, ranges.r]]) {
      if (!l.max.some(x => x > 0)) continue;
      caption(box, title + " latency", [...QUANT, ["max", "--max"]]);
      plot(box, G, { height: 130, y: "log", name: title.toLowerCase(), min: range[0], max: range[1], from: s.from - zero, step: s.step, fmt: us, lines: quantLines(l) });
    }
    markList(box, mk);
    G.stagger();
  });
  for (const g of peers) g.draw();
}
const at = (r, name) => r.phases.find(p => p.name === name).from;
zooms("data-zoom", r => r.zoom, r => at(r, "recovering"), (e, r) => e.zoom);
zooms("data-kill", r => r.kill, r => at(r, "failover"), (e, r) => e.kill);

// ---- HDR percentile plots -------------------------------------------------------
const ordered = (run, kind) => run.phases.map(p => [p.name, run.hdr[kind][p.name]]).filter(c => c[1]);
function hdr(canvas, run, kind, lo, hi, decadesX) {
  const H = 270, curves = ordered(run, kind);
  const draw = () => {
    const r = dpr(), w = canvas.clientWidth;
    canvas.style.height = H + "px"; canvas.width = w * r; canvas.height = H * r;
    const g = canvas.getContext("2d");
    g.setTransform(r, 0, 0, r, 0, 0); g.clearRect(0, 0, w, H); g.font = "11px system-ui, 'DejaVu Sans', sans-serif";
    const y0 = H - 32, y1 = 8, X = x => M.l + Math.log10(x) / decadesX * (w - M.l - M.r);
    const Y = v => y0 - (Math.log10(v) - Math.log10(lo)) / (Math.log10(hi) - Math.log10(lo)) * (y0 - y1);
    g.textBaseline = "middle"; g.textAlign = "right"; g.lineWidth = 1;
    for (const v of decades(lo, hi)) { const y = Math.round(Y(v)) + 0.5; g.strokeStyle = css("--grid"); g.beginPath(); g.moveTo(M.l, y); g.lineTo(w - M.r, y); g.stroke(); g.fillStyle = css("--soft"); g.fillText(us(v), M.l - 7, y); }
    g.textAlign = "center"; g.textBaseline = "top";
    const names = ["0 %", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %", "99.9999 %", "99.99999 %"];
    for (let d = 0; d <= decadesX && d < names.length; d++) {
      const x = Math.round(X(Math.pow(10, d))) + 0.5;
      g.strokeStyle = css("--grid"); g.beginPath(); g.moveTo(x, y1); g.lineTo(x, y0); g.stroke();
      g.fillStyle = css("--soft"); if (x < w - 14) g.fillText(names[d], x, y0 + 6);
    }
    g.fillText("percentile", M.l + (w - M.l - M.r) / 2, y0 + 19);
    g.save(); g.beginPath(); g.rect(M.l, 0, w - M.l - M.r, y0 + 1); g.clip();
    for (const [phase, pts] of curves) {
      g.strokeStyle = css("--ph-" + phase); g.lineWidth = phase === "steady" ? 2.4 : 1.6; g.lineJoin = "round"; g.beginPath();
      pts.forEach(([x, v], i) => i ? g.lineTo(X(x), Y(Math.max(v, lo))) : g.moveTo(X(x), Y(Math.max(v, lo))));
      g.stroke();
    }
    g.restore();
  };
  canvas.addEventListener("pointermove", e => {
    const box = canvas.getBoundingClientRect(), x = Math.pow(10, (e.clientX - box.left - M.l) / (box.width - M.l - M.r) * decadesX);
    if (!(x >= 1)) return;
    tip.textContent = "";
    tip.append(el("b", "", kind + ", percentile " + (100 * (1 - 1 / x)).toPrecision(x > 1e4 ? 7 : 5) + " %"));
    const tab = el("table");
    for (const [phase, pts] of curves) {
      const p = pts.find(q => q[0] >= x);
      const tr = tab.insertRow(); tr.insertCell().textContent = phase; tr.insertCell().textContent = p ? us(p[1]) : "too few operations";
    }
    tip.append(tab); tip.style.display = "block";
    tip.style.left = Math.min(e.clientX + 16, window.innerWidth - tip.offsetWidth - 8) + "px"; tip.style.top = Math.max(8, Math.min(e.clientY + 16, window.innerHeight - tip.offsetHeight - 8)) + "px";
  });
  canvas.addEventListener("pointerleave", () => { tip.style.display = "none"; });
  redraws.push(draw);
  new ResizeObserver(draw).observe(document.body);
  draw();
}
{
  let lo = Infinity, hi = 1, dx = 2;
  for (const r of D.runs) for (const kind of ["read", "write"]) for (const pts of Object.values(r.hdr[kind])) for (const [x, v] of pts) {
    lo = Math.min(lo, v); hi = Math.max(hi, v); dx = Math.max(dx, Math.log10(x));
  }
  lo = Math.pow(10, Math.floor(Math.log10(lo === Infinity ? 1 : lo))); hi = Math.pow(10, Math.ceil(Math.log10(Math.max(hi, lo * 10)) - 1e-9));
  for (const box of document.querySelectorAll("[data-hdr]")) {
    const [k, kind] = box.dataset.hdr.split(" "), run = D.runs[+k], phases = ordered(run, kind).map(c => c[0]);
    if (!phases.length) { box.append(el("p", "sub", "No " + kind + "s in this workload.")); continue; }
    caption(box, "", phases.map(p => [p, "--ph-" + p]));
    const c = el("canvas"); box.append(c); hdr(c, run, kind, lo, hi, Math.min(dx, 7));
  }
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { window.dispatchEvent(new Event("resize")); for (const d of redraws) d(); document.body.style.minHeight = document.body.style.minHeight ? "" : "1px"; });
})();
