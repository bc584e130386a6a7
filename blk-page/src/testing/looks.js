// What is wrong with a page as it is shown: a list of lines.
const wrong = [];
const name = (element) => element.outerHTML.slice(0, 100);
const visible = (element) => element.getClientRects().length > 0;
// Nothing is wider than the page but what scrolls by itself.
if (document.documentElement.scrollWidth > window.innerWidth) {
  wrong.push(`the page is ${document.documentElement.scrollWidth} wide in ${window.innerWidth}`);
}
const clipped = (element) => {
  for (let at = element; at && at !== document.body; at = at.parentElement) {
    if (["auto", "scroll", "hidden"].includes(getComputedStyle(at).overflowX)) return true;
  }
  return false;
};
for (const element of document.querySelectorAll("body *")) {
  const box = element.getBoundingClientRect();
  if (visible(element) && !element.closest(".skip") && box.right > window.innerWidth + 1 && !clipped(element)) {
    wrong.push(`overflows to ${box.right}: ${name(element)}`);
  }
  const scrolls = element.scrollWidth > element.clientWidth + 1 && element.clientWidth > 0;
  const how = getComputedStyle(element).overflowX;
  if (scrolls && how === "auto" && element.tabIndex < 0) wrong.push(`scrolls without a key: ${name(element)}`);
  if (scrolls && how === "hidden" && element.textContent.trim()) wrong.push(`is cut: ${name(element)}`);
}
// Text stands out from what is behind it: WCAG 2 AA, success criterion 1.4.3.
const channels = (text) => text.match(/[\d.]+/g).map(Number);
const light = (c) => {
  const [r, g, b] = c.slice(0, 3).map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const behind = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const colour = channels(getComputedStyle(at).backgroundColor);
    if (colour.length < 4 || colour[3] > 0) return colour;
  }
  return [255, 255, 255];
};
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
const seen = new Set();
while (texts.nextNode()) {
  const element = texts.currentNode.parentElement;
  if (!texts.currentNode.data.trim() || !visible(element) || seen.has(element)) continue;
  seen.add(element);
  const style = getComputedStyle(element);
  const colour = element.closest("svg") ? style.fill : style.color;
  const [a, b] = [light(channels(colour)), light(behind(element))];
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  const size = parseFloat(style.fontSize);
  const needed = size >= 24 || (size >= 18.66 && style.fontWeight >= 700) ? 3 : 4.5;
  if (ratio < needed) wrong.push(`contrast ${ratio.toFixed(2)}: ${name(element)}`);
}
if (document.querySelectorAll("h1").length !== 1) wrong.push("there is not one h1");
if (seen.size < 5) wrong.push("hardly any text");
return wrong.slice(0, 20);
