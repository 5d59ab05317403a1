// A page under watch: what holds for any view of the console.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/// Repository.
export const ROOT = join(dirname(fileURLToPath(import.meta.url)), '../..');
/// Where screenshots go.
export const SHOTS = join(ROOT, 'target/browser/console');

const require = createRequire(import.meta.url);
let chromium;
let axeSource;
try {
  ({ chromium } = require('playwright-core'));
  axeSource = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
} catch {
  console.error('console: playwright-core or axe-core is missing; run script/setup');
  process.exit(1);
}
const executablePath = process.env.CHROMIUM || (() => {
  try {
    return execFileSync('sh', ['-c', 'command -v chromium'], { encoding: 'utf8' }).trim();
  } catch {
    console.error('console: chromium is missing; run script/setup');
    return process.exit(1);
  }
})();

/// A name that leads here, for pages that are not on localhost.
export const ELSEWHERE = 'console.test';

export const browser = await chromium.launch({ executablePath, args: [`--host-resolver-rules=MAP ${ELSEWHERE} 127.0.0.1`, ...(process.getuid() === 0 ? ['--no-sandbox'] : [])] });

export const tally = { passed: 0 };
export const failures = [];

/// One thing that must hold.
export function check(name, good, detail = '') {
  if (good) tally.passed += 1;
  else {
    failures.push(name);
    console.error(`FAILED ${name}${detail ? `: ${detail}` : ''}`);
  }
}

/// A page, with everything it complains about in `noise`.
export async function open(url, { width = 1440, scheme = 'light', motion = 'reduce' } = {}) {
  const context = await browser.newContext({ viewport: { width, height: 900 }, colorScheme: scheme, reducedMotion: motion, locale: 'en-GB', timezoneId: 'UTC' });
  const page = await context.newPage();
  page.setDefaultTimeout(20000);
  page.noise = [];
  page.on('console', (message) => {
    // Browsers report every refusal as an error; refusals are answers here.
    const answered = /^Failed to load resource: (the server responded with a status of 40[014]|net::ERR_EMPTY_RESPONSE)/.test(message.text()) && /\/(prpc|guest|governance|logs)\b/.test(message.location().url);
    if (['error', 'warning'].includes(message.type()) && !answered) page.noise.push(message.text());
  });
  page.on('pageerror', (error) => page.noise.push(error.stack));
  page.on('dialog', (dialog) => { page.noise.push(`dialog: ${dialog.message()}`); dialog.dismiss(); });
  page.on('request', (request) => {
    const to = new URL(request.url());
    if (!['data:', 'blob:'].includes(to.protocol) && to.origin !== new URL(url).origin) page.noise.push(`request to ${to.origin}`);
  });
  await page.addInitScript(() => {
    window.violations = [];
    document.addEventListener('securitypolicyviolation', (event) => window.violations.push(`${event.violatedDirective} ${event.blockedURI}`));
  });
  const response = await page.goto(url);
  page.answer = response;
  await page.waitForSelector('#main > .view, #token');
  return page;
}

/// Nothing on the console, nothing fetched from elsewhere, nothing against the policy.
export async function quiet(page, name) {
  const violations = await page.evaluate(() => window.violations);
  check(`${name}: no error on the console, nothing fetched from elsewhere`, page.noise.length === 0, page.noise.join(' | '));
  check(`${name}: the content security policy held`, violations.length === 0, violations.join(' | '));
  check(`${name}: nothing moves for those who want it still`, await page.evaluate(() => document.getAnimations().length === 0));
}

/// What axe finds, which is nothing: every control is labelled, every colour readable.
export async function accessible(page, name) {
  await page.evaluate(axeSource);
  const found = await page.evaluate(async () => {
    const options = { preload: false, resultTypes: ['violations'], runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] };
    const result = await window.axe.run(document, options);
    return result.violations.map((one) => `${one.id}: ${one.nodes.slice(0, 3).map((node) => `${node.target.join(' ')} (${(node.any[0] || node.all[0] || node.none[0] || {}).message})`).join('; ')}`);
  });
  check(`${name}: axe finds nothing`, found.length === 0, found.join('\n  '));
}

/// No sideways scrolling.
export async function fits(page, name) {
  const wide = await page.evaluate(() => {
    const room = document.documentElement.clientWidth;
    const out = [];
    if (document.documentElement.scrollWidth > room) out.push(`page ${document.documentElement.scrollWidth} > ${room}`);
    for (const element of document.querySelectorAll('body *')) {
      const box = element.getBoundingClientRect();
      if (box.width > 1 && (box.right > room + 1 || box.left < -1) && !element.closest('.unseen, .skip, svg')) out.push(`${element.tagName}.${element.getAttribute('class')} ${Math.round(box.left)}..${Math.round(box.right)}`);
    }
    return out.slice(0, 5);
  });
  check(`${name}: nothing is wider than the page`, wide.length === 0, wide.join(', '));
}

/// The whole page.
export const shot = (page, name) => page.screenshot({ path: join(SHOTS, `${name}.png`), fullPage: true });

/// Tab reaches everything, and what has the focus shows it.
export async function keyboard(page, name) {
  const wanted = await page.evaluate(() => {
    const all = [...document.querySelectorAll('a[href], button:enabled, summary, input, select, textarea')].filter((one) => one.checkVisibility());
    all.forEach((one, i) => { one.dataset.stop = i; });
    document.activeElement.blur();
    window.getSelection().removeAllRanges();
    return all.length;
  });
  const reached = new Set();
  const unmarked = [];
  for (let i = 0; i < wanted + 4; i += 1) {
    await page.keyboard.press('Tab');
    const at = await page.evaluate(() => {
      const one = document.activeElement;
      const style = getComputedStyle(one);
      return { stop: one.dataset.stop, what: `${one.tagName} ${one.textContent.slice(0, 40)}`, marked: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2 };
    });
    if (at.stop === undefined) continue;
    reached.add(at.stop);
    if (!at.marked) unmarked.push(at.what);
  }
  check(`${name}: Tab reaches everything that can be pressed`, reached.size === wanted, `${reached.size} of ${wanted}`);
  check(`${name}: what has the focus shows it`, unmarked.length === 0, unmarked.slice(0, 3).join(', '));
}
