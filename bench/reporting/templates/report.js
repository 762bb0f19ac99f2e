// The report's script: tabs, sortable tables, figure filter, clip browser and A/B player.
// Text from the results is only ever set as textContent.
"use strict";

const $ = (id) => document.getElementById(id);

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "text") element.textContent = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

// --- tabs ------------------------------------------------------------------------------------

function startTabs() {
  const tabs = [...document.querySelectorAll("[role=tab]")];
  const panel = (tab) => $(tab.getAttribute("aria-controls"));
  const name = (tab) => tab.id.replace("tab-", "");
  const show = (chosen) => {
    for (const tab of tabs) {
      tab.setAttribute("aria-selected", tab === chosen);
      tab.tabIndex = tab === chosen ? 0 : -1;
      panel(tab).hidden = tab !== chosen;
    }
    document.dispatchEvent(new CustomEvent("panel", { detail: name(chosen) }));
  };
  const fromAddress = () => {
    const named = tabs.find((tab) => `#${name(tab)}` === location.hash);
    show(named || tabs[0]);
  };
  const open = (tab) => {
    history.replaceState(null, "", `#${name(tab)}`);
    show(tab);
    tab.focus();
    scrollTo(0, Math.min(scrollY, document.querySelector(".tabs").offsetTop));
  };
  const steps = { ArrowLeft: -1, ArrowRight: 1 };
  for (const tab of tabs) {
    tab.addEventListener("click", () => open(tab));
    tab.addEventListener("keydown", (event) => {
      if (!(event.key in steps)) return;
      event.preventDefault();
      open(tabs[(tabs.indexOf(tab) + steps[event.key] + tabs.length) % tabs.length]);
    });
  }
  addEventListener("hashchange", fromAddress);
  fromAddress();
}

// --- sortable tables -------------------------------------------------------------------------

function sortValue(cell) {
  const text = cell.dataset.v ?? cell.textContent.trim();
  const number = Number(text);
  return text !== "" && Number.isFinite(number) ? number : text;
}

// Numbers before texts; what is empty or a dash comes last in either direction.
function compareCells(a, b, sign) {
  const empty = (value) => value === "" || value === "–";
  if (empty(a) || empty(b)) return empty(a) - empty(b);
  if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
  if (typeof a === "number") return sign * (a - b);
  return sign * a.localeCompare(b, undefined, { numeric: true });
}

function sortTable(table, heading, direction) {
  const column = [...heading.parentNode.children].indexOf(heading);
  const sign = direction === "descending" ? -1 : 1;
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => ({
    row,
    pinned: row.hasAttribute("data-pinned"),
    value: row.cells[column] ? sortValue(row.cells[column]) : "",
  }));
  rows.sort((a, b) => b.pinned - a.pinned || compareCells(a.value, b.value, sign));
  body.append(...rows.map(({ row }) => row));
  for (const other of heading.parentNode.children) other.setAttribute("aria-sort", "none");
  heading.setAttribute("aria-sort", direction);
}

function startSorting() {
  document.addEventListener("click", (event) => {
    const heading = event.target.closest("table.sortable thead th");
    if (!heading) return;
    const first = heading.dataset.first === "desc" ? "descending" : "ascending";
    const opposite = { ascending: "descending", descending: "ascending" };
    const now = heading.getAttribute("aria-sort");
    sortTable(heading.closest("table"), heading, opposite[now] || first);
  });
}

// --- figures ---------------------------------------------------------------------------------

function startFigures() {
  const form = $("figure-filter");
  if (!form) return;
  const figures = [...$("figures").children];
  const update = () => {
    const chosen = new FormData(form);
    const fits = (figure, key) => [null, "*", figure.dataset[key]].includes(chosen.get(key));
    let shown = 0;
    for (const figure of figures) {
      figure.hidden = !(fits(figure, "domain") && fits(figure, "metric"));
      shown += !figure.hidden;
    }
    $("figure-count").textContent = shown === 1 ? "1 figure" : `${shown} figures`;
  };
  form.addEventListener("change", update);
  form.addEventListener("submit", (event) => event.preventDefault());
  update();
}

// --- player ----------------------------------------------------------------------------------

const TICK_MS = 30; // how often positions are compared
const IN_STEP_S = 0.012; // two voices this close may take over from each other
const PATIENCE_MS = 500; // after which a voice takes over even if it is not in step

// Plays one of several recordings of the same clip. The voice that is heard is the clock. A voice
// that is switched to starts muted at the clock's position, is brought in step by its playback
// rate, and then takes over without a gap; it goes on running, muted, so that coming back to it is
// immediate. Nothing is loaded before it is first heard. (Web Audio is no use here: browsers give
// it silence for files opened by double click.)
class Player {
  constructor(deck, onChange) {
    this.deck = deck;
    this.onChange = onChange;
    this.voices = [];
    this.matched = false;
    this.looping = false;
    setInterval(() => this.tick(), TICK_MS);
  }

  load(voices, duration) {
    this.pause();
    for (const voice of this.voices) voice?.removeAttribute("src");
    this.voices = voices.map(({ audio }) => audio && make("audio", { src: audio, preload: "none" }));
    this.gains = voices.map(({ gain }) => gain ?? 1);
    this.deck.replaceChildren(...this.voices.filter(Boolean));
    this.duration = duration;
    this.region = null;
    this.resting = 0;
    this.active = this.wanted = this.voices.findIndex(Boolean);
    this.error = "";
    this.onChange();
  }

  get clock() {
    return this.voices[this.active];
  }

  get position() {
    return this.playing && this.clock ? this.clock.currentTime : this.resting;
  }

  get end() {
    const known = this.clock?.duration;
    return Number.isFinite(known) ? known : this.duration || 0;
  }

  play() {
    if (!this.clock || this.playing) return;
    if (this.position >= this.end - 0.02) this.resting = 0;
    this.start(this.active, this.resting);
    this.playing = true;
    this.hear(this.active);
  }

  pause() {
    if (!this.playing) return;
    this.resting = this.position;
    this.playing = false;
    for (const voice of this.voices) voice?.pause();
    this.hear(this.wanted);
  }

  toggle() {
    if (this.playing) this.pause();
    else this.play();
  }

  start(index, position) {
    const voice = this.voices[index];
    voice.muted = index !== this.active;
    voice.playbackRate = 1;
    voice.currentTime = position;
    voice.play().catch((error) => {
      if (error.name === "AbortError") return; // paused before it began
      this.error = "This file cannot be played.";
      this.pause();
      this.onChange();
    });
  }

  // Make a voice the one that is heard, and thereby the clock.
  hear(index) {
    this.active = this.wanted = index;
    this.voices.forEach((voice, other) => {
      if (!voice) return;
      voice.muted = other !== index;
      if (other === index) voice.playbackRate = 1;
      voice.volume = this.matched ? this.gains[other] : 1;
    });
    this.onChange();
  }

  switchTo(index) {
    const voice = this.voices[index];
    if (!voice || index === this.wanted) return;
    if (!this.playing) {
      this.hear(index);
      return;
    }
    this.wanted = index;
    this.deadline = performance.now() + PATIENCE_MS;
    if (voice.paused) this.start(index, this.position);
    this.tick();
    this.onChange();
  }

  seek(position) {
    this.resting = Math.min(Math.max(position, 0), this.end);
    if (this.playing) {
      this.voices.forEach((voice, index) => {
        if (!voice || (voice.paused && index !== this.active)) return;
        this.start(index, this.resting);
      });
    }
    this.onChange();
  }

  setMatched(matched) {
    this.matched = matched;
    this.hear(this.wanted);
  }

  tick() {
    if (!this.playing || !this.clock) return;
    this.keepInStep();
    this.takeOver();
    this.turnRound();
    this.onChange();
  }

  keepInStep() {
    const position = this.position;
    this.voices.forEach((voice, index) => {
      if (!voice || index === this.active || voice.paused || voice.seeking) return;
      const behind = position - voice.currentTime;
      if (Math.abs(behind) > 0.4) voice.currentTime = position;
      else voice.playbackRate = Math.abs(behind) < 0.004 ? 1 : clamp(1 + 12 * behind, 0.25, 3);
    });
  }

  takeOver() {
    if (this.wanted === this.active) return;
    const next = this.voices[this.wanted];
    const inStep = Math.abs(this.position - next.currentTime) < IN_STEP_S;
    const runs = !next.seeking && next.readyState >= 3;
    if (runs && (inStep || performance.now() > this.deadline)) this.hear(this.wanted);
  }

  turnRound() {
    const [from, to] = this.region || [0, this.end];
    const over = this.clock.ended || this.position >= to - (this.region ? 0 : 0.005);
    if (!over) return;
    if (this.looping) {
      this.seek(from);
    } else if (this.clock.ended) {
      this.pause();
      this.resting = 0;
    }
  }
}

// Decimals that show three digits of a bitrate.
const digits = (value) => clamp(2 - Math.floor(Math.log10(value || 1)), 0, 2);
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

// --- clips: ranking --------------------------------------------------------------------------

// Ranks of a codec's clips by one metric within each domain, 0 (worst) to 1 (best); failed: worst.
function codecRanks(data, codec, metric) {
  const groups = new Map();
  data.clips.forEach((clip, index) => {
    const { scores, failed } = clip.codecs[codec];
    const value = scores[metric] ?? (failed?.[metric] ? -Infinity : null);
    if (value === null) return;
    if (!groups.has(clip.domain)) groups.set(clip.domain, []);
    groups.get(clip.domain).push({ index, goodness: goodness(data, metric, value) });
  });
  const ranks = new Map();
  for (const group of groups.values()) {
    for (const { index, goodness: own } of group) {
      const below = group.filter((other) => other.goodness < own).length;
      const level = group.filter((other) => other.goodness === own).length - 1;
      ranks.set(index, group.length > 1 ? (below + level / 2) / (group.length - 1) : 0.5);
    }
  }
  return ranks;
}

function goodness(data, metric, value) {
  if (value === -Infinity) return value;
  const { higher } = data.metrics[metric];
  return higher === null ? -Math.abs(value) : higher ? value : -value;
}

// What each clip is ordered by (higher: worse) and what is written beside it.
function clipKeys(data, metric, codec) {
  if (metric === "*" && codec === "*") {
    return data.clips.map(({ badness }) => [badness, percent(badness)]);
  }
  const numberOf = (clip) => {
    const name = metric === "*" ? data.primary[clip.domain] : data.metrics[metric].name;
    return data.metrics.findIndex((one) => one.name === name);
  };
  if (codec === "*") {
    const all = data.codecs.map((_, index) => index);
    const judged = all.filter((index) => data.codecs[index].kind !== "anchor");
    const ranks = (judged.length ? judged : all).map((index) => codecRanks(data, index, metric));
    return data.clips.map((_, index) => {
      const own = ranks.map((one) => one.get(index)).filter((rank) => rank !== undefined);
      const badness = own.length ? 1 - own.reduce((sum, rank) => sum + rank, 0) / own.length : null;
      return [badness, percent(badness)];
    });
  }
  return data.clips.map((clip) => {
    const number = numberOf(clip);
    const { scores, failed } = clip.codecs[codec];
    if (number < 0) return [null, ""];
    if (failed?.[number]) return [Infinity, "failed"];
    const value = scores[number] ?? null;
    if (value === null) return [null, ""];
    return [-goodness(data, number, value), value.toFixed(data.metrics[number].decimals)];
  });
}

const percent = (share) => (share === null ? "" : String(Math.round(100 * share)));

function orderClips(data, { metric, codec, order }) {
  const keys = clipKeys(data, metric, codec);
  const sign = order === "best" ? 1 : -1;
  const indices = data.clips.map((_, index) => index);
  const byName = (a, b) => data.clips[a].name.localeCompare(data.clips[b].name);
  indices.sort((a, b) => {
    const [first, second] = [keys[a][0], keys[b][0]];
    if (order === "name") return byName(a, b);
    if (first === null || second === null) return (first === null) - (second === null);
    return first === second ? a - b : sign * (first - second);
  });
  return indices.map((index) => [index, keys[index][1]]);
}

// --- clips: page -----------------------------------------------------------------------------

class ClipBrowser {
  constructor(data) {
    this.data = data;
    this.form = $("clip-filter");
    this.player = new Player($("deck"), () => this.showState());
    this.form.addEventListener("input", () => this.showList());
    this.form.addEventListener("submit", (event) => event.preventDefault());
    $("clip-list").addEventListener("click", (event) => {
      const item = event.target.closest("li");
      if (item) this.open(Number(item.dataset.index));
    });
    $("play").addEventListener("click", () => this.player.toggle());
    $("match").addEventListener("change", (event) => this.player.setMatched(event.target.checked));
    $("loop").addEventListener("change", (event) => {
      this.player.looping = event.target.checked;
    });
    $("clear-loop").addEventListener("click", () => this.setRegion(null));
    $("gallery-box").addEventListener("toggle", () => this.showGallery());
    document.addEventListener("keydown", (event) => this.onKey(event));
    document.addEventListener("panel", (event) => event.detail !== "clips" && this.player.pause());
    this.startSurface();
    this.showList();
    this.open(this.order[0]);
  }

  showList() {
    const { text, domain, ...ranking } = Object.fromEntries(new FormData(this.form));
    const wanted = text.trim().toLowerCase();
    const fits = ({ name, text: transcript, dataset, about, domain: own }) =>
      (domain === "*" || own === domain) &&
      [name, transcript, dataset, ...about].some((one) => one.toLowerCase().includes(wanted));
    const ordered = orderClips(this.data, ranking).filter(([index]) => fits(this.data.clips[index]));
    this.order = ordered.map(([index]) => index);
    $("clip-list").replaceChildren(...ordered.map(([index, note]) => this.listItem(index, note)));
    if (!ordered.length) $("clip-list").append(make("li", { text: "No clip fits.", class: "none" }));
    this.markOpen();
  }

  listItem(index, note) {
    const { name, domain, dataset } = this.data.clips[index];
    return make("li", { role: "option", id: `clip-${index}`, "data-index": index },
      make("span", { class: "name", text: name, title: name }),
      make("span", { class: "rank", text: note }),
      make("small", { text: `${domain} · ${dataset}` }));
  }

  markOpen() {
    for (const item of $("clip-list").children) {
      item.setAttribute("aria-selected", Number(item.dataset.index) === this.index);
    }
    $("clip-list").setAttribute("aria-activedescendant", `clip-${this.index}`);
  }

  open(index) {
    if (index === undefined || Number.isNaN(index)) return;
    this.index = index;
    this.clip = this.data.clips[index];
    const { name, domain, dataset, about, duration } = this.clip;
    const length = duration ? [`${duration.toFixed(1)} s`] : [];
    $("clip-name").textContent = name;
    $("clip-about").textContent = [domain, dataset, ...length, ...about].join(" · ");
    this.names = ["reference", ...this.data.codecs.map(({ id }) => id)];
    this.voices = [this.clip.reference, ...this.clip.codecs];
    for (const axis of $("stage").querySelectorAll(".axis")) fillAxis(axis, this.clip.ticks);
    showImage($("view-reference"), this.clip.reference.image, `Spectrogram of ${name}, reference`);
    this.showVoices();
    this.showSpeech();
    this.showGallery();
    const heard = this.player.wanted ?? this.firstVoice();
    this.player.load(this.voices, duration);
    if (this.voices[heard]?.audio) this.player.hear(heard);
    this.setRegion(null);
    this.markOpen();
  }

  // What is beside the reference at first: a codec rather than an anchor.
  firstVoice() {
    return 1 + this.data.codecs.findIndex(({ kind }) => kind !== "anchor");
  }

  step(by) {
    const at = this.order.indexOf(this.index);
    const next = this.order[clamp(at + by, 0, this.order.length - 1)];
    if (next === undefined || next === this.index) return;
    this.open(next);
    $(`clip-${next}`).scrollIntoView({ block: "nearest" });
  }

  // The table of voices: choosing one is listening to it.
  showVoices() {
    const { metrics } = this.data;
    const used = metrics.map((_, m) => m).filter((m) => this.clip.codecs.some(({ scores, failed }) =>
      (scores[m] ?? null) !== null || failed?.[m]));
    const head = make("tr", {},
      make("th", { scope: "col", class: "key" }, make("span", { class: "sr", text: "Key" })),
      heading("Voice"), heading("kbps", "num"),
      ...used.map((m) => heading(metrics[m].name, "num", metrics[m].higher ? "desc" : "asc", metrics[m].unit)));
    const rows = this.voices.map((voice, index) => make("tr",
      { "data-voice": index, "data-pinned": index === 0 },
      make("td", { class: "key", text: index < 10 ? index : "" }),
      make("th", { scope: "row", "data-v": index ? this.names[index] : "" }, this.voiceButton(index)),
      numberCell(voice.kbps ?? null, digits(voice.kbps)),
      ...used.map((m) => this.scoreCell(voice, m))));
    $("voices").replaceChildren(make("thead", {}, head), make("tbody", {}, ...rows));
  }

  label(index) {
    const colour = index ? this.data.codecs[index - 1].colour : "";
    return [make("i", { class: "chip", style: colour && `--c:${colour}` }),
      make("span", { text: this.names[index] })];
  }

  voiceButton(index) {
    const voice = this.voices[index];
    const button = make("button", { type: "button", class: "voice", disabled: !voice.audio },
      ...this.label(index));
    button.addEventListener("click", () => this.player.switchTo(index));
    if (voice.audio) return button;
    const why = voice.why || voice.missing;
    return make("span", {}, button, make("small", { class: "sub", text: why }));
  }

  scoreCell(voice, metric) {
    if (!voice.scores) return make("td", { class: "num" });
    const why = voice.failed?.[metric];
    if (why) return make("td", { class: "num bad", text: "failed", title: why, "data-v": "" });
    return numberCell(voice.scores[metric] ?? null, this.data.metrics[metric].decimals);
  }

  showSpeech() {
    const heard = this.voices
      .map(({ heard: one }, index) => one && [index, one])
      .filter(Boolean);
    if (!this.clip.text && !heard.length) {
      $("speech").replaceChildren();
      return;
    }
    const rows = heard.map(([index, { text, of, edits, words, loop }]) => make("tr",
      { "data-pinned": index === 0 },
      make("th", { scope: "row" }, make("span", { class: "codec" }, ...this.label(index))),
      make("td", { class: "num", "data-v": words ? edits / words : "",
        text: words === null ? "" : `${edits} / ${words}` }),
      make("td", {}, ...markDifferences(of || this.clip.text, text),
        ...(loop ? [make("small", { class: "warn", text: "the recogniser loops" })] : []))));
    const table = make("table", { class: "sortable" },
      make("thead", {}, make("tr", {}, heading("Voice"), heading("Edits / words", "num"), heading("Recognised"))),
      make("tbody", {}, ...rows));
    $("speech").replaceChildren(
      make("h3", { text: "Transcript" }), make("p", { class: "transcript", text: this.clip.text || "unknown" }),
      ...(rows.length ? [
        make("p", { class: "note" }, "What the recogniser heard: ", make("ins", { text: "put in" }), " and ", make("del", { text: "left out" }), "."),
        make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Recognised words" }, table)] : []));
  }

  showGallery() {
    const gallery = $("gallery");
    if (!$("gallery-box").open) {
      gallery.replaceChildren();
      return;
    }
    const shown = this.voices.map((voice, index) => [voice, index]).filter(([{ image }]) => image);
    gallery.replaceChildren(...shown.map(([{ image }, index]) => {
      const axis = make("span", { class: "axis" });
      fillAxis(axis, this.clip.ticks.filter((_, tick) => tick % 2));
      const button = make("button", { type: "button", title: "Listen" },
        make("span", { class: "codec" }, ...this.label(index)),
        make("span", { class: "view" }, axis, make("span", { class: "picture" },
          make("img", { src: image, loading: "lazy", alt: `Spectrogram, ${this.names[index]}` }))));
      button.addEventListener("click", () => this.player.switchTo(index));
      return button;
    }));
  }

  // Everything that follows the player; called at every tick, so it only touches what changed.
  showState() {
    if (!this.clip) return;
    const { player } = this;
    const { position, end } = player;
    setText($("play"), player.playing ? "Pause" : "Play");
    $("play").disabled = !player.clock;
    setText($("time"), `${position.toFixed(1)} / ${end.toFixed(1)} s`);
    setText($("now"), player.error || this.names[player.wanted] || "no audio");
    $("playhead").style.left = end ? `${(100 * clamp(position / end, 0, 1)).toFixed(2)}%` : "0";
    $("surface").setAttribute("aria-valuenow", position.toFixed(1));
    $("surface").setAttribute("aria-valuemax", end.toFixed(1));
    const shown = `${this.index} ${player.wanted}`;
    if (shown === this.shown) return;
    this.shown = shown;
    for (const row of $("voices").tBodies[0].rows) {
      const active = Number(row.dataset.voice) === player.wanted;
      row.classList.toggle("active", active);
      row.querySelector(".voice").setAttribute("aria-pressed", active);
    }
    const name = this.names[player.wanted] ?? "";
    $("view-active-name").textContent = name;
    showImage($("view-active"), this.voices[player.wanted]?.image, `Spectrogram, ${name}`);
  }

  setRegion(region) {
    this.player.region = region;
    $("region").hidden = $("clear-loop").hidden = !region;
    if (!region) return;
    const { end } = this.player;
    $("region").style.left = `${(100 * region[0]) / end}%`;
    $("region").style.width = `${(100 * (region[1] - region[0])) / end}%`;
    this.player.looping = $("loop").checked = true;
  }

  // A click seeks, a drag marks a region to loop.
  startSurface() {
    const surface = $("surface");
    const timeAt = (event) => {
      const box = surface.getBoundingClientRect();
      return clamp((event.clientX - box.left) / box.width, 0, 1) * this.player.end;
    };
    let from = null;
    let dragged = false;
    surface.addEventListener("pointerdown", (event) => {
      from = timeAt(event);
      dragged = false;
      surface.setPointerCapture(event.pointerId);
    });
    surface.addEventListener("pointermove", (event) => {
      if (from === null) return;
      const to = timeAt(event);
      dragged ||= Math.abs(to - from) > 0.02 * this.player.end;
      if (dragged) this.setRegion([Math.min(from, to), Math.max(from, to)]);
    });
    surface.addEventListener("pointerup", () => {
      if (from !== null) this.player.seek(dragged ? this.player.region[0] : from);
      from = null;
    });
    surface.addEventListener("pointercancel", () => {
      from = null;
    });
  }

  onKey(event) {
    const typing = event.target.closest("input:not([type=checkbox]), select, [role=tab]");
    if ($("panel-clips").hidden || typing || event.ctrlKey || event.metaKey || event.altKey) return;
    if (this.act(event)) event.preventDefault();
  }

  act({ key, target }) {
    const { player } = this;
    const inList = target.closest("#clip-list");
    if (key === " ") {
      // Space presses a focused control, except the voices: there it plays and pauses.
      if (target.closest("button:not(.voice), summary, input")) return false;
      player.toggle();
    } else if (/^[0-9]$/.test(key)) player.switchTo(Number(key));
    else if (key === "ArrowDown") inList ? this.step(1) : this.nextVoice(1);
    else if (key === "ArrowUp") inList ? this.step(-1) : this.nextVoice(-1);
    else if (key === "ArrowRight") player.seek(player.position + 0.5);
    else if (key === "ArrowLeft") player.seek(player.position - 0.5);
    else if (key === "n") this.step(1);
    else if (key === "p") this.step(-1);
    else if (key === "l") $("loop").click();
    else return false;
    return true;
  }

  // Up and down follow the table as it is sorted.
  nextVoice(by) {
    const rows = [...$("voices").tBodies[0].rows].map((row) => Number(row.dataset.voice));
    const playable = rows.filter((index) => this.voices[index].audio);
    const at = playable.indexOf(this.player.wanted);
    this.player.switchTo(playable[clamp(at + by, 0, playable.length - 1)]);
  }
}

function heading(label, className = null, first = "asc", unit = "") {
  return make("th", { scope: "col", class: className, "aria-sort": "none", "data-first": first },
    make("button", { type: "button" }, label, ...(unit ? [make("small", { text: unit })] : [])));
}

function numberCell(value, decimals) {
  if (value === null) return make("td", { class: "num none", text: "–", "data-v": "" });
  const text = value.toFixed(decimals);
  const shown = Number(text) === 0 ? text.replace("-", "") : text.replace("-", "\u2212");
  return make("td", { class: "num", text: shown, "data-v": value });
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function showImage(image, source, description) {
  image.alt = description;
  image.hidden = !source;
  if (source) image.src = source;
}

function fillAxis(axis, ticks) {
  axis.replaceChildren(
    ...ticks.map(([label, height]) => make("span", { text: label, style: `bottom:${100 * height}%` })));
}

// Word by word: what both have, what the recogniser left out (del) and what it put in (ins).
function markDifferences(reference, heard) {
  const [a, b] = [reference, heard].map((text) => text.split(/\s+/).filter(Boolean));
  const plain = (word) => word.toLowerCase().replace(/[^\p{L}\p{N}']/gu, "");
  const same = (i, j) => plain(a[i]) === plain(b[j]);
  // common[i][j]: how many words a[i:] and b[j:] share, in order
  const common = a.concat("").map(() => new Array(b.length + 1).fill(0));
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      common[i][j] = same(i, j)
        ? common[i + 1][j + 1] + 1
        : Math.max(common[i + 1][j], common[i][j + 1]);
    }
  }
  const parts = [];
  for (let i = 0, j = 0; i < a.length || j < b.length;) {
    if (i < a.length && j < b.length && same(i, j)) {
      parts.push(b[j++]);
      i++;
    } else if (i < a.length && (j === b.length || common[i + 1][j] >= common[i][j + 1])) {
      parts.push(make("del", { text: a[i++] }));
    } else parts.push(make("ins", { text: b[j++] }));
    parts.push(" ");
  }
  return parts;
}

// --- start -----------------------------------------------------------------------------------

function start() {
  const data = JSON.parse($("report-data").textContent);
  if (data.clips.length) window.browser = new ClipBrowser(data);
  startSorting();
  startFigures();
  startTabs();
}

start();
