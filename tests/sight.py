"""Visual checks of the texts in SVG drawings: clipped, overlapping, or with low contrast."""

from __future__ import annotations

from playwright.sync_api import Locator

CONTRAST = 4.5
"""The minimum contrast of text with its background (WCAG 2, level AA)."""
TOUCHING = 2.0
"""The number of pixels by which two texts may overlap: the box of a text is larger than its letters."""

_TEXTS = """(all, [allowed, contrast]) => all.flatMap(root => [...root.querySelectorAll('svg')].filter(svg => !svg.closest('button'))).flatMap(svg => {
  const parse = color => (color.match(/[\\d.]+/g) || []).map(Number);
  const solid = color => { const [,,, alpha = 1] = parse(color); return color !== 'transparent' && alpha > 0.5; };
  const light = color => {
    const [r, g, b] = parse(color).slice(0, 3).map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  let behind = svg;
  while (behind && !solid(getComputedStyle(behind).backgroundColor)) behind = behind.parentElement;
  // An SVG of vl-convert paints its background as its first rectangle.
  const painted = [...svg.children].find(part => part.tagName === 'rect' && solid(getComputedStyle(part).fill));
  const ground = painted ? getComputedStyle(painted).fill : behind ? getComputedStyle(behind).backgroundColor : 'rgb(255, 255, 255)';
  const frame = svg.getBoundingClientRect();
  const texts = [...svg.querySelectorAll('text')].filter(text => text.textContent.trim() && getComputedStyle(text).opacity !== '0')
    .map(text => ({words: text.textContent.trim(), box: text.getBoundingClientRect(), ink: getComputedStyle(text).fill}))
    .filter(text => text.box.width > 0);
  const problems = [];
  for (const {words, box, ink} of texts) {
    if (box.left < frame.left - allowed || box.right > frame.right + allowed || box.top < frame.top - allowed || box.bottom > frame.bottom + allowed)
      problems.push(`clipped: ${words}`);
    const [a, b] = [light(ink), light(ground)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < contrast) problems.push(`contrast ${ratio.toFixed(1)} of ${ink} on ${ground}: ${words}`);
  }
  for (let i = 0; i < texts.length; i++) for (let j = i + 1; j < texts.length; j++) {
    const [one, other] = [texts[i].box, texts[j].box];
    const across = Math.min(one.right, other.right) - Math.max(one.left, other.left);
    const down = Math.min(one.bottom, other.bottom) - Math.max(one.top, other.top);
    if (across > allowed && down > allowed) problems.push(`overlap: ${texts[i].words} | ${texts[j].words}`);
  }
  return problems;
})"""


def faults(target: Locator) -> list[str]:
    """Return the problems of the texts in the SVG drawings of `target`."""
    problems: list[str] = target.evaluate_all(_TEXTS, [TOUCHING, CONTRAST])
    return problems
