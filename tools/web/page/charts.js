'use strict';
/* Small charts of the last minute. */

const SPAN = 60; /* s */

class Chart {
  /* `series`: how many values are stacked; `floor`: the scale's top is at least this. */
  constructor(canvas, { colours, floor, line }) {
    Object.assign(this, { canvas, colours, floor, line });
    this.points = [];
    this.context = canvas.getContext('2d');
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.draw());
  }

  add(time, values) {
    this.points.push({ time, values });
    while (this.points.length && this.points[0].time < time - SPAN - 2) this.points.shift();
    this.draw();
  }

  clear() {
    this.points = [];
    this.draw();
  }

  /* A round number above everything shown. */
  top() {
    const sums = this.points.map(p => p.values.reduce((a, b) => a + b, 0)).filter(Number.isFinite);
    const most = Math.max(this.floor, this.line || 0, ...sums) * 1.1;
    const step = 10 ** Math.floor(Math.log10(most)) / 2;
    return Math.ceil(most / step) * step;
  }

  draw() {
    const { canvas, context } = this;
    const scale = devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
    if (!width || !height) return;
    if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
      canvas.width = Math.round(width * scale);
      canvas.height = Math.round(height * scale);
    }
    const style = getComputedStyle(canvas);
    const now = this.points.length ? this.points[this.points.length - 1].time : 0;
    const top = this.top();
    const x = time => width - 2 - (now - time) / SPAN * (width - 2);
    const y = value => height - 1.5 - value / top * (height - 5);
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, height);
    context.fillStyle = style.getPropertyValue('--hairline');
    context.fillRect(0, height - 1, width, 1);
    if (this.line) {
      for (let at = 0; at < width; at += 6) context.fillRect(at, Math.round(y(this.line)), 3, 1);
    }
    this.colours.forEach((name, index) => this.drawSeries(style.getPropertyValue(name), index, x, y));
  }

  drawSeries(colour, index, x, y) {
    const { context } = this;
    const sum = (values, count) => values.slice(0, count).reduce((a, b) => a + b, 0);
    for (const run of runs(this.points)) {
      context.beginPath();
      run.forEach((p, i) => context[i ? 'lineTo' : 'moveTo'](x(p.time), y(sum(p.values, index + 1))));
      if (this.colours.length === 1) {
        context.strokeStyle = colour;
        context.lineWidth = 1.5;
        context.lineJoin = 'round';
        context.stroke();
      }
      [...run].reverse().forEach(p => context.lineTo(x(p.time), y(sum(p.values, index))));
      context.closePath();
      context.globalAlpha = this.colours.length === 1 ? 0.14 : 0.9;
      context.fillStyle = colour;
      context.fill();
      context.globalAlpha = 1;
    }
  }
}

/* Points without a hole between them: unknown values break the line. */
function runs(points) {
  const found = [[]];
  for (const point of points) {
    if (point.values.every(Number.isFinite)) found[found.length - 1].push(point);
    else if (found[found.length - 1].length) found.push([]);
  }
  return found.filter(run => run.length > 1);
}
