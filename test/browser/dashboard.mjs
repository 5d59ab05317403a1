// Looks at the agent's dashboard in a browser.
//
//   cargo run -p bylaw-agent --example dashboard -- target/browser/dashboard
//   node test/browser/dashboard.mjs [DIRECTORY]
//
// DIRECTORY holds what the example wrote. Screenshots go to target/browser. CHROMIUM names
// another browser than the system's `chromium`.
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, readdirSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '../..');
const SHOTS = join(ROOT, 'target/browser');
const PAGES = process.argv[2] || join(SHOTS, 'dashboard');

const require = createRequire(import.meta.url);
function stop(why) {
  console.error(`dashboard: ${why}`);
  process.exit(1);
}
let chromium;
let axeSource;
try {
  ({ chromium } = require('playwright-core'));
  axeSource = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
} catch {
  stop('playwright-core or axe-core is missing; run script/setup');
}
let browserPath = process.env.CHROMIUM;
try {
  browserPath ||= execFileSync('sh', ['-c', 'command -v chromium'], { encoding: 'utf8' }).trim();
} catch {
  stop('chromium is missing; run script/setup');
}
let names = [];
try {
  names = readdirSync(PAGES).filter((file) => file.endsWith('.html')).map((file) => file.slice(0, -5)).sort();
} catch { /* said below */ }
if (!names.includes('full') || !names.includes('hostile')) stop(`no pages in ${PAGES}; cargo run -p bylaw-agent --example dashboard -- ${PAGES}`);

let passed = 0;
const failures = [];
function check(name, good, detail = '') {
  if (good) passed += 1;
  else {
    failures.push(name);
    console.error(`FAILED ${name}${detail ? `: ${detail}` : ''}`);
  }
}

// ---------------------------------------------------------------- a server like the agent

// The policy is read from where the agent has it, so that this tests the one it sends.
const WORKER = 'guest/agent/src/worker.rs';
const literal = /const CONTENT_POLICY: &str = "([^"]+)";/.exec(readFileSync(join(ROOT, WORKER), 'utf8'));
if (!literal) stop(`${WORKER} holds no CONTENT_POLICY`);
const CSP = literal[1].replace(/\\\n\s*/g, '');
check('the policy allows no script', /default-src 'none'/.test(CSP) && !/script-src|unsafe/.test(CSP), CSP);

const missed = [];
const server = createServer((request, response) => {
  const { pathname } = new URL(request.url, 'http://localhost');
  response.setHeader('Content-Security-Policy', CSP);
  response.setHeader('X-Content-Type-Options', 'nosniff');
  response.setHeader('X-Frame-Options', 'DENY');
  response.setHeader('Referrer-Policy', 'no-referrer');
  response.setHeader('Cache-Control', 'no-store');
  const name = pathname.slice(1);
  if (names.includes(name)) {
    response.writeHead(200, { 'Content-Type': 'text/html; charset=utf-8' });
    return response.end(readFileSync(join(PAGES, `${name}.html`)));
  }
  if (name === 'style.css') {
    response.writeHead(200, { 'Content-Type': 'text/css; charset=utf-8' });
    return response.end(readFileSync(join(PAGES, name)));
  }
  missed.push(pathname);
  response.writeHead(404);
  return response.end();
});
await new Promise((done) => { server.listen(0, '127.0.0.1', done); });
const BASE = `http://127.0.0.1:${server.address().port}`;

// ---------------------------------------------------------------- a page under watch

const browser = await chromium.launch({ executablePath: browserPath, args: process.getuid() === 0 ? ['--no-sandbox'] : [] });

async function open(name, { width = 1440, scheme = 'light', scripts = true, ...more } = {}) {
  const context = await browser.newContext({ viewport: { width, height: 900 }, colorScheme: scheme, javaScriptEnabled: scripts, locale: 'en-GB', timezoneId: 'UTC', ...more });
  await context.grantPermissions(['clipboard-read', 'clipboard-write'], { origin: BASE });
  const page = await context.newPage();
  page.noise = [];
  page.on('console', (message) => { if (['error', 'warning'].includes(message.type())) page.noise.push(message.text()); });
  page.on('pageerror', (error) => page.noise.push(String(error)));
  page.on('dialog', (dialog) => { page.noise.push(`dialog: ${dialog.message()}`); dialog.dismiss(); });
  page.on('request', (request) => {
    const to = new URL(request.url());
    if (to.protocol !== 'data:' && !(to.origin === BASE && [`/${name}`, '/style.css'].includes(to.pathname))) page.noise.push(`request to ${request.url().slice(0, 80)}`);
  });
  await page.addInitScript(() => {
    window.violations = [];
    document.addEventListener('securitypolicyviolation', (event) => window.violations.push(`${event.violatedDirective} ${event.blockedURI}`));
  });
  await page.goto(`${BASE}/${name}`);
  return page;
}

async function quiet(page, name) {
  const violations = await page.evaluate(() => window.violations);
  check(`${name}: no error on the console, nothing fetched but the page and its style`, page.noise.length === 0, page.noise.join(' | '));
  check(`${name}: the content security policy held`, violations.length === 0, violations.join(' | '));
}

async function accessible(page, name) {
  await page.evaluate(axeSource);
  const found = await page.evaluate(async () => {
    const options = { preload: false, resultTypes: ['violations'], runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] };
    const result = await window.axe.run(document, options);
    return result.violations.map((one) => `${one.id}: ${one.nodes.slice(0, 3).map((node) => `${node.target.join(' ')} (${(node.any[0] || node.all[0] || node.none[0] || {}).message})`).join('; ')}`);
  });
  check(`${name}: axe finds nothing`, found.length === 0, found.join('\n  '));
}

async function fits(page, name) {
  const wide = await page.evaluate(() => {
    const room = document.documentElement.clientWidth;
    const out = [];
    if (document.documentElement.scrollWidth > room) out.push(`page ${document.documentElement.scrollWidth} > ${room}`);
    for (const element of document.querySelectorAll('body *')) {
      const box = element.getBoundingClientRect();
      if (box.width > 1 && (box.right > room + 1 || box.left < -1) && !element.closest('.skip')) out.push(`${element.tagName}.${element.className} ${Math.round(box.left)}..${Math.round(box.right)}`);
      // What scrolls does so downwards only.
      if (element.tagName === 'PRE' && element.scrollWidth > element.clientWidth) out.push(`pre ${element.scrollWidth} > ${element.clientWidth}`);
    }
    return out.slice(0, 5);
  });
  check(`${name}: nothing is wider than the page`, wide.length === 0, wide.join(', '));
}

const unfold = (page) => page.evaluate(() => { for (const one of document.querySelectorAll('details')) one.open = true; });
const shot = (page, name) => page.screenshot({ path: join(SHOTS, `dashboard-${name}.png`), fullPage: true });
const selected = (page) => page.evaluate(() => String(window.getSelection()));

// ---------------------------------------------------------------- what is checked

// What holds for every state.
async function general(name) {
  for (const scheme of ['light', 'dark']) {
    for (const width of [390, 1440]) {
      const where = `${name}, ${scheme}, ${width} px`;
      const page = await open(name, { width, scheme });
      await shot(page, `${name}-${scheme}-${width}`);
      await fits(page, where);
      await accessible(page, where);
      await unfold(page);
      await fits(page, `${where}, all open`);
      await accessible(page, `${where}, all open`);
      if (['full', 'hostile'].includes(name)) await shot(page, `${name}-open-${scheme}-${width}`);
      await quiet(page, where);
      await page.context().close();
    }
  }
  for (const width of [320, 600, 768, 1024, 1920]) {
    const page = await open(name, { width });
    await unfold(page);
    await fits(page, `${name}, ${width} px`);
    await page.context().close();
  }
  const page = await open(name, { width: 390, forcedColors: 'active' });
  await accessible(page, `${name}, forced colours`);
  await page.context().close();
  await withoutScripts(name);
}

// The same picture without scripts, which also says that there is nothing to run.
async function withoutScripts(name) {
  const [withThem, without] = [await open(name), await open(name, { scripts: false })];
  check(`${name}: looks the same without JavaScript`, (await withThem.screenshot({ fullPage: true })).equals(await without.screenshot({ fullPage: true })));
  const scripts = await withThem.evaluate(() => document.querySelectorAll('script, [onclick], [onload], [onerror]').length);
  check(`${name}: holds no script`, scripts === 0, `${scripts}`);
  await withThem.context().close();
  await without.context().close();
}

// Each state says what matters, once and at the top.
async function says(name, shows, hides = []) {
  const page = await open(name, { width: 390 });
  const glance = await page.locator('.head').innerText();
  for (const wanted of shows) check(`${name}: says "${wanted}" at the top`, glance.includes(wanted), glance);
  const everything = await page.locator('body').innerText();
  for (const unwanted of hides) check(`${name}: does not say "${unwanted}"`, !everything.includes(unwanted));
  await page.context().close();
}

// Without a mouse and without scripts: Tab reaches everything, Enter opens it.
async function keyboard(name) {
  const page = await open(name, { width: 1024, scripts: false });
  await page.keyboard.press('Tab');
  const first = await page.evaluate(() => ({ skip: document.activeElement.className, top: document.activeElement.getBoundingClientRect().top }));
  check(`${name}: the first Tab shows the way past the head`, first.skip === 'skip' && first.top >= 0, JSON.stringify(first));
  await page.keyboard.press('Enter');
  check(`${name}: which leads to the content`, await page.evaluate(() => document.activeElement.id === 'main' && document.querySelector('main').getBoundingClientRect().top < 450));

  const seen = new Set();
  const unmarked = [];
  let opened = 0;
  for (let i = 0; i < 400; i += 1) {
    await page.keyboard.press('Tab');
    const at = await page.evaluate(() => {
      const one = document.activeElement;
      const style = getComputedStyle(one);
      return {
        key: [...document.querySelectorAll('*')].indexOf(one), tag: one.tagName, what: `${one.tagName} ${one.textContent.slice(0, 40)}`,
        marked: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2,
        closed: one.tagName === 'SUMMARY' && !one.parentElement.open,
      };
    });
    if (at.tag === 'BODY' || seen.has(at.key)) break;
    seen.add(at.key);
    if (!at.marked) unmarked.push(at.what);
    if (!at.closed) continue;
    await page.keyboard.press(opened % 2 === 0 ? 'Enter' : 'Space');
    opened += 1;
    check(`${name}: ${at.what} opens by keyboard`, await page.evaluate(() => document.activeElement.parentElement.open));
  }
  const wanted = await page.evaluate(() => ({ closed: document.querySelectorAll('details:not([open])').length, stops: document.querySelectorAll('a[href]:not(.skip), summary, pre').length }));
  check(`${name}: Tab reached everything that opens`, wanted.closed === 0 && opened > 0, `${wanted.closed} closed`);
  check(`${name}: Tab reached every link and every box that scrolls`, seen.size === wanted.stops, `${seen.size} of ${wanted.stops}`);
  check(`${name}: what has the focus shows it`, unmarked.length === 0, unmarked.slice(0, 3).join(', '));

  // A log opens at its end, and scrolls by keyboard.
  const log = page.locator('pre.log').first();
  const hidden = () => log.evaluate((one) => {
    const [box, text] = [one.getBoundingClientRect(), one.firstElementChild.getBoundingClientRect()];
    return { above: box.top - text.top, below: text.bottom - box.bottom };
  });
  await log.focus();
  const before = await hidden();
  check(`${name}: a long log opens at its end`, before.above > 100 && before.below <= 0, JSON.stringify(before));
  await page.keyboard.press('Home');
  await page.waitForFunction(() => document.querySelector('pre.log').scrollTop !== 0, null, { timeout: 3000 }).catch(() => {});
  await page.waitForTimeout(500);
  const after = await hidden();
  check(`${name}: a long log scrolls by keyboard, to its start`, after.above <= 0 && after.below > 100, JSON.stringify(after));
  await page.context().close();
}

async function copies() {
  const html = readFileSync(join(PAGES, 'full.html'), 'utf8');
  const page = await open('full', { width: 390 });
  await page.locator('summary', { hasText: 'Quote' }).click();
  const quote = /<pre class="quote"[^>]*><code>([0-9a-f]+)<\/code>/.exec(html)[1];
  check('full: the quote is a whole one', quote.length > 9000);
  await page.locator('pre.quote').click();
  check('full: one click selects the whole quote and nothing else', (await selected(page)).trim() === quote);
  await page.keyboard.press('Control+C');
  check('full: and it copies in full', (await page.evaluate(() => navigator.clipboard.readText())).trim() === quote);

  // Its link gives the same, by keyboard: no fetch, so no policy is in its way.
  const download = page.waitForEvent('download');
  await page.locator('a[download="quote.hex"]').focus();
  await page.keyboard.press('Enter');
  const saved = await (await download).path();
  check('full: the quote can be saved by keyboard', readFileSync(saved, 'utf8') === quote);

  const hash = page.locator('code.hash').first();
  const digits = await hash.evaluate((one) => one.textContent);
  await hash.click();
  await page.keyboard.press('Control+C');
  const copied = await page.evaluate(() => navigator.clipboard.readText());
  check('full: a grouped hash copies without gaps', copied === digits && /^[0-9a-f]{40}$/.test(copied), copied);
  check('full: a grouped hash is found as a whole', await page.evaluate((whole) => window.find(whole), digits));
  await quiet(page, 'full, copying');
  await page.context().close();
}

// Rows of a hash have equal length, so that two can be compared by eye.
async function readable() {
  for (const [width, rows] of [[390, { 64: [4, 4], 96: [4, 4, 4] }], [1440, { 64: [8], 96: [12] }]]) {
    const page = await open('full', { width });
    const found = await page.evaluate(() => [...document.querySelectorAll('.facts code.hash')].map((one) => {
      const byTop = new Map();
      for (const group of one.querySelectorAll('span')) {
        const top = Math.round(group.getBoundingClientRect().top);
        byTop.set(top, (byTop.get(top) || 0) + 1);
      }
      return { digits: one.textContent.length, rows: [...byTop.values()] };
    }));
    for (const [digits, wanted] of Object.entries(rows)) {
      const these = found.filter((one) => one.digits === Number(digits));
      check(`full, ${width} px: hashes of ${digits} digits break into rows of ${wanted.join('+')} groups`, these.length > 0 && these.every((one) => one.rows.join() === wanted.join()), JSON.stringify(these[0]));
    }
    await page.context().close();
  }
}

async function logs() {
  const page = await open('full');
  await unfold(page);
  const text = await page.locator('pre.log').first().innerText();
  check('full: text that looks like HTML is text', text.includes('<script>alert("no")</script> & <b>not bold</b>'));
  check('full: other scripts are shown', ['заказ № 18', '注文を受け付けました', 'طلب رقم ١٩ مرفوض'].every((one) => text.includes(one)));
  await page.context().close();
}

async function inert() {
  for (const width of [390, 1440]) {
    const page = await open('hostile', { width });
    await unfold(page);
    const found = await page.evaluate(() => ({
      ran: window.ran,
      elements: [...document.querySelectorAll('img, iframe, object, embed, svg, form, base, script, style, b, [style], [onerror], meta[http-equiv]')].map((one) => one.outerHTML.slice(0, 80)),
      links: [...document.querySelectorAll('a[href]')].map((one) => one.href),
      hidden: /[\u202a-\u202e\u2066-\u2069\u200b\ufeff\u0000\u001b]/.test(document.documentElement.textContent + document.title),
      evil: document.body.innerText.split('<script>window.ran=1</script>').length - 1,
    }));
    check('hostile: nothing ran', found.ran === undefined);
    check('hostile: no element came from data', found.elements.length === 0, found.elements.join(' | '));
    const away = found.links.filter((one) => !one.startsWith(`${BASE}/`));
    check('hostile: links stay with the app', away.length === 0, away.join(' | '));
    check('hostile: characters that reorder or hide are shown by number', !found.hidden && await page.locator('.unseen').count() >= 20);
    check('hostile: all of it is shown as text', found.evil >= 15, `${found.evil}`);
    await quiet(page, 'hostile');
    await page.context().close();
  }
}

// ---------------------------------------------------------------- run

mkdirSync(SHOTS, { recursive: true });
try {
  for (const name of names) await general(name);
  await says('full', ['Ledger', 'Intel TDX', 'Attested', 'From a KMS', 'answered 2026-11-21 14:03 UTC', 'Valid', 'until 2026-12-21', '3 of 4 running'], ['Simulated', 'Expired', 'failed']);
  await says('simulated', ['Simulated.', 'nothing in it is confidential', 'simulated in software', '1 of 1 running'], ['Attested', 'closed to whoever']);
  await says('private', ['measurements are private', '2 of 2 running'], ['evidence.json', 'RTMR', 'Event log', 'Metrics', 'Log of']);
  await says('no-engine', ['Unknown', 'the engine does not answer']);
  await says('kms-failed', ['KMS fails', '1 of 3 running', '3 need a look'], ['answered']);
  await says('expired', ['Expired', 'on 2026-11-20']);
  await says('no-instance', ['None', 'nothing runs yet']);
  await says('own-keys', ['Own keys', 'they end with this VM', 'Not in the certificate'], ['Attested']);
  await says('sev-snp', ['AMD SEV-SNP', 'From a TPM'], ['RTMR', 'Event log']);
  await keyboard('full');
  await copies();
  await readable();
  await logs();
  await inert();
  check('every page and style asked for is there', missed.length === 0, missed.join(', '));
} finally {
  await browser.close();
  server.close();
}
console.log(`${passed} passed, ${failures.length} failed`);
process.exit(failures.length === 0 ? 0 : 1);
