// Looks at the governance page in a browser.
//
//   node test/browser/gov.mjs                          on fixtures, served from here
//   node test/browser/gov.mjs URL [EXPECTATIONS.json]  on a page that is served already
//
// EXPECTATIONS.json: {"routes": [{"hash": "#/app/0x…", "shows": ["text"], "hides": ["text"]}]}.
// Screenshots go to target/browser. CHROMIUM names another browser than the system's `chromium`.
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, readdirSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { dirname, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const HERE = dirname(fileURLToPath(import.meta.url));
const ROOT = join(HERE, '../..');
const ASSETS = join(ROOT, 'host/cli/assets/gov');
const SHOTS = join(ROOT, 'target/browser');
const FIXTURES = join(HERE, 'fixtures');
const CSP = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:";
const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript; charset=utf-8', '.css': 'text/css; charset=utf-8' };

const require = createRequire(import.meta.url);
let chromium;
let axeSource;
try {
  ({ chromium } = require('playwright-core'));
  axeSource = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
} catch {
  console.error('gov: playwright-core or axe-core is missing; run script/setup');
  process.exit(1);
}
const browserPath = process.env.CHROMIUM || (() => {
  try {
    return execFileSync('sh', ['-c', 'command -v chromium'], { encoding: 'utf8' }).trim();
  } catch {
    console.error('gov: chromium is missing; run script/setup');
    return process.exit(1);
  }
})();

let passed = 0;
const failures = [];
function check(name, good, detail = '') {
  if (good) passed += 1;
  else {
    failures.push(name);
    console.error(`FAILED ${name}${detail ? `: ${detail}` : ''}`);
  }
}

// ---------------------------------------------------------------- a server of fixtures

const readFixture = (name) => JSON.parse(readFileSync(join(FIXTURES, `${name}.json`), 'utf8'));

// A fixture's times move with it so that its newest block is of now.
function atPresent(state) {
  const shift = Math.floor(Date.now() / 1000) - state.chain.time;
  const move = (value) => {
    if (Array.isArray(value)) return value.map(move);
    if (value === null || typeof value !== 'object') return value;
    return Object.fromEntries(Object.entries(value).map(([key, one]) => [key,
      ['time', 'activates_at', 'expires_at'].includes(key) && typeof one === 'number' && one > 0 && one < 1e12 ? one + shift : move(one)]));
  };
  return move(state);
}

async function serve(fixture) {
  const server = {
    state: atPresent(fixture.state), diff: fixture.diff, failing: null, asked: 0,
  };
  const http = createServer((request, response) => {
    const url = new URL(request.url, 'http://localhost');
    response.setHeader('Content-Security-Policy', CSP);
    response.setHeader('X-Content-Type-Options', 'nosniff');
    response.setHeader('Cache-Control', 'no-store');
    const json = (status, value) => {
      response.writeHead(status, { 'Content-Type': 'application/json' });
      response.end(JSON.stringify(value));
    };
    if (url.pathname === '/api/state') {
      server.asked += 1;
      return server.failing ? json(502, { error: server.failing }) : json(200, server.state);
    }
    if (url.pathname === '/api/diff') {
      return server.diff ? json(200, { from: url.searchParams.get('from'), to: url.searchParams.get('to'), ...server.diff })
        : json(404, { error: 'no compose file with this hash' });
    }
    const file = url.pathname === '/' ? 'index.html' : url.pathname.slice(1);
    if (!readdirSync(ASSETS).includes(file)) return json(404, { error: 'no such page' });
    response.writeHead(200, { 'Content-Type': TYPES[extname(file)] });
    return response.end(readFileSync(join(ASSETS, file)));
  });
  await new Promise((done) => { http.listen(0, '127.0.0.1', done); });
  server.url = `http://127.0.0.1:${http.address().port}/`;
  server.stop = () => new Promise((done) => { http.close(done); http.closeAllConnections(); });
  return server;
}

// ---------------------------------------------------------------- a page under watch

const browser = await chromium.launch({ executablePath: browserPath, args: process.getuid() === 0 ? ['--no-sandbox'] : [] });

async function open(url, { width = 1440, scheme = 'light', hash = '', motion = 'reduce' } = {}) {
  const context = await browser.newContext({ viewport: { width, height: 900 }, colorScheme: scheme, reducedMotion: motion, locale: 'en-GB', timezoneId: 'UTC' });
  await context.grantPermissions(['clipboard-read', 'clipboard-write'], { origin: new URL(url).origin });
  const page = await context.newPage();
  page.noise = [];
  page.on('console', (message) => { if (['error', 'warning'].includes(message.type())) page.noise.push(message.text()); });
  page.on('pageerror', (error) => page.noise.push(String(error)));
  page.on('dialog', (dialog) => { page.noise.push(`dialog: ${dialog.message()}`); dialog.dismiss(); });
  page.on('request', (request) => {
    const to = new URL(request.url());
    if (to.protocol !== 'data:' && to.origin !== new URL(url).origin) page.noise.push(`request to ${to.origin}`);
  });
  await page.addInitScript(() => {
    window.violations = [];
    document.addEventListener('securitypolicyviolation', (event) => window.violations.push(`${event.violatedDirective} ${event.blockedURI}`));
  });
  const response = await page.goto(url + hash);
  page.policy = response.headers()['content-security-policy'] || '';
  await page.waitForSelector('#facts dl');
  await page.evaluate(() => document.fonts.ready);
  return page;
}

async function quiet(page, name) {
  const violations = await page.evaluate(() => window.violations);
  check(`${name}: no error on the console, nothing fetched from elsewhere`, page.noise.length === 0, page.noise.join(' | '));
  check(`${name}: the content security policy held`, violations.length === 0, violations.join(' | '));
}

async function accessible(page, name) {
  // Nothing is inside what is closed, as far as axe can see: it looks with everything open, too.
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
      if (box.width > 1 && (box.right > room + 1 || box.left < -1) && !element.closest('.unseen, .skip')) out.push(`${element.tagName}.${element.className} ${Math.round(box.left)}..${Math.round(box.right)}`);
    }
    return out.slice(0, 5);
  });
  check(`${name}: nothing is wider than the page`, wide.length === 0, wide.join(', '));
}

const unfold = (page) => page.evaluate(() => { for (const one of document.querySelectorAll('details')) one.open = true; });
const shot = (page, name) => page.screenshot({ path: join(SHOTS, `${name}.png`), fullPage: true });

async function keyboard(page, name) {
  const wanted = await page.evaluate(() => {
    const all = [...document.querySelectorAll('a[href], button, summary')].filter((one) => one.checkVisibility());
    all.forEach((one, i) => { one.dataset.stop = i; });
    window.scrollTo(0, 0);
    document.activeElement.blur();
    return all.length;
  });
  const reached = new Set();
  const unmarked = [];
  for (let i = 0; i < wanted + 3; i += 1) {
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
  return wanted;
}

async function ticks(page, name) {
  const first = page.locator('.countdown time.until').first();
  if (await first.count() === 0) return;
  const [before, exact] = [await first.textContent(), await first.getAttribute('title')];
  await page.waitForTimeout(2100);
  check(`${name}: the countdown ticks`, before !== await first.textContent() || before.startsWith('due'), before);
  check(`${name}: the exact time is on hover and in the element`, /\d{4}-\d\d-\d\dT/.test(exact) && /\d{4}-\d\d-\d\dT/.test(await first.getAttribute('datetime')));
}

async function copies(page, name) {
  const button = page.locator('main button.hash').first();
  const full = await button.getAttribute('title');
  await button.focus();
  await page.keyboard.press('Enter');
  await page.waitForTimeout(100);
  const got = await page.evaluate(() => navigator.clipboard.readText());
  check(`${name}: a hash copies in full from the keyboard`, got === full, `${got} is not ${full}`);
  check(`${name}: copying is said`, /Copied/.test(await page.textContent('#live')));
}

// ---------------------------------------------------------------- what is checked

// What holds for any data.
async function general(url, name, routes) {
  for (const scheme of ['light', 'dark']) {
    for (const width of [390, 1440]) {
      const page = await open(url, { width, scheme });
      for (const [i, { hash, shows = [], hides = [] }] of routes.entries()) {
        const where = `${name}${hash ? ` ${hash.slice(0, 16)}` : ''}, ${scheme}, ${width} px`;
        if (hash) await page.evaluate((to) => { window.location.hash = to; }, hash);
        await page.waitForTimeout(50);
        await shot(page, `${name}-${i}-${scheme}-${width}`);
        await fits(page, where);
        await accessible(page, where);
        const all = await page.evaluate(() => document.body.innerText);
        for (const wanted of shows) check(`${where}: shows "${wanted}"`, all.includes(wanted));
        for (const unwanted of hides) check(`${where}: does not show "${unwanted}"`, !all.includes(unwanted));
        await unfold(page);
        await fits(page, `${where}, all open`);
        await accessible(page, `${where}, all open`);
        if (i === 0) await shot(page, `${name}-open-${scheme}-${width}`);
      }
      await quiet(page, `${name}, ${scheme}, ${width} px`);
      await page.context().close();
    }
  }
  for (const width of [320, 600, 768, 1024]) {
    const page = await open(url, { width });
    await unfold(page);
    await fits(page, `${name}, ${width} px`);
    await page.context().close();
  }
  const page = await open(url, { width: 1024, motion: 'no-preference' });
  for (const directive of CSP.split('; ')) check(`${name}: the server sends ${directive}`, page.policy.includes(directive), page.policy);
  await ticks(page, name);
  if (await page.locator('main button.hash').count() > 0) await copies(page, name);
  await keyboard(page, name);
  await unfold(page);
  await keyboard(page, `${name}, all open`);
  await quiet(page, name);
  await page.context().close();
}

// The server stops: simulated at the browser, so that it also works on a server of another process.
async function unreachable(url, name, stop) {
  const page = await open(url, { width: 390 });
  const shown = await page.evaluate(() => document.querySelectorAll('.card').length);
  await stop(page);
  await page.waitForSelector('.banner', { timeout: 20000 });
  const banner = await page.textContent('.banner');
  check(`${name}: says that what is shown is out of date`, /Out of date/.test(banner) && /does not answer/.test(banner), banner);
  check(`${name}: says it to those who cannot see it`, /does not answer/.test(await page.textContent('#live')));
  check(`${name}: says it in the title`, /^Stale: /.test(await page.title()));
  check(`${name}: goes on showing what it knew`, shown === await page.evaluate(() => document.querySelectorAll('.card').length));
  await shot(page, `${name}-stale`);
  await fits(page, `${name}, stale`);
  await accessible(page, `${name}, stale`);
  return page;
}

async function steady(server) {
  const page = await open(server.url);
  const name = 'rich, across updates';
  await page.locator('article').first().locator('details').last().evaluate((one) => { one.open = true; });
  const button = page.getByRole('button', { name: /Compare with running/ }).first();
  await button.click();
  await page.waitForSelector('.diff .lines');
  const lines = await page.locator('.diff').first().textContent();
  check('rich: the comparison shows what came and what went', /2 lines added \(\+\), 1 removed/.test(lines) && lines.includes('AUDIT=on'));
  check('rich: lines carry + and −, and words', await page.locator('ins.line .mark').first().textContent() === '+' && await page.locator('del.line .mark').first().textContent() === '\u2212' && /added: /.test(await page.locator('ins.line').first().textContent()));
  check('rich: unchanged lines fold', /unchanged lines/.test(lines));
  await page.locator('.diff').first().screenshot({ path: join(SHOTS, 'rich-diff.png') });
  await accessible(page, 'rich, comparison');

  const hash = page.locator('article .history button.hash').last();
  await page.evaluate(() => window.scrollTo(0, 700));
  await page.locator('article').nth(1).locator('button.hash').first().evaluate((one) => { one.focus({ preventScroll: true }); window.kept = one; });
  await hash.evaluate((one) => { window.keptToo = one; });
  const asked = server.asked;
  const from = await page.evaluate(() => window.scrollY);
  server.state.chain.block += 1;
  server.state.chain.time += 5;
  server.state.proposals[0].signed_by.push(server.state.proposals[0].signers[1]);
  server.state.proposals[0].status = 'ready to execute';
  server.state.apps[1].paused = false;
  await page.waitForFunction(() => document.querySelector('#live').textContent.includes('upgrade.json'), null, { timeout: 12000 });
  check(`${name}: asked again`, server.asked > asked);
  const said = await page.textContent('#live');
  check(`${name}: the change is said`, /ready to execute/.test(said) && /no longer paused/.test(said), said);
  const kept = await page.evaluate(() => ({ focus: document.activeElement === window.kept, element: window.keptToo.isConnected, open: document.querySelector('article details[open]') !== null, diff: document.querySelector('.diff .lines') !== null, y: window.scrollY }));
  check(`${name}: focus, what is open, comparison and scroll stay`, kept.focus && kept.element && kept.open && kept.diff && Math.abs(kept.y - from) < 2, JSON.stringify({ ...kept, from }));
  await quiet(page, name);

  const id = server.state.apps[0].id;
  await page.evaluate((to) => { window.location.hash = to; }, `#/app/${id}`);
  await page.waitForFunction(() => document.querySelectorAll('.card').length === 1);
  check('rich: a link to an app shows that app and moves the focus to its title', await page.evaluate(() => document.activeElement.tagName === 'H2' && document.title.startsWith('Ledger')));
  await page.evaluate(() => { window.location.hash = '#/app/0x0000000000000000000000000000000000000001'; });
  await page.waitForFunction(() => document.body.innerText.includes('No such app here'));
  check('rich: an unknown app is said to be unknown', true);
  await accessible(page, 'rich, unknown app');

  server.diff = null;
  await page.evaluate((to) => { window.location.hash = to; }, `#/app/${id}`);
  await page.waitForSelector('article');
  await page.evaluate(() => { for (const one of document.querySelectorAll('button[aria-expanded=true]')) one.click(); });
  await page.getByRole('button', { name: /Compare with running/ }).first().click();
  await page.waitForFunction(() => document.querySelector('.diff').textContent.includes('no compose file with this hash'));
  check('rich: a comparison that cannot be had says why', true);

  server.failing = 'the node does not answer';
  await page.waitForSelector('.banner', { timeout: 12000 });
  check('rich: what the server says is wrong shows', /the node does not answer/.test(await page.textContent('.banner')));
  server.failing = null;
  await page.waitForFunction(() => !document.querySelector('.banner'), null, { timeout: 12000 });
  check('rich: it comes back by itself', /answers again/.test(await page.textContent('#live')));
  await page.context().close();
}

async function inert(server) {
  const name = 'hostile';
  for (const where of ['', `#/app/${server.state.apps[0].id}`, '#/kms', '#/app/%', '#/app/%3Cimg%20src=x%20onerror=window.__pwned=1%3E']) {
    const page = await open(server.url, { hash: where, width: 390 });
    await unfold(page);
    await page.evaluate(() => { for (const one of [...document.querySelectorAll('button.plain')]) one.click(); });
    await page.waitForTimeout(150);
    const found = await page.evaluate(() => ({
      ran: window.__pwned,
      elements: [...document.querySelectorAll('img, iframe, object, embed, svg, form, base, script:not([src="app.js"]), style, [style], [onerror], [onclick]')].map((one) => one.outerHTML.slice(0, 80)),
      links: [...document.querySelectorAll('a[href]')].map((one) => ({ protocol: one.protocol, href: one.getAttribute('href'), rel: one.rel, user: one.username })),
      hidden: /[\u202a-\u202e\u2066-\u2069\u200b\u0000]/.test(document.body.innerText),
      polluted: {}.polluted,
    }));
    check(`${name} ${where}: nothing ran`, found.ran === undefined && found.polluted === undefined);
    check(`${name} ${where}: no element came from data`, found.elements.length === 0, found.elements.join(' | '));
    const bad = found.links.filter((one) => !one.href.startsWith('#') && !(['http:', 'https:', 'ipfs:'].includes(one.protocol) && one.rel === 'noopener noreferrer' && one.user === ''));
    check(`${name} ${where}: links lead to the web only`, bad.length === 0, JSON.stringify(bad));
    check(`${name} ${where}: characters that reorder or hide are shown`, !found.hidden);
    await fits(page, `${name} ${where}`);
    await quiet(page, `${name} ${where}`);
    await page.context().close();
  }
  const page = await open(server.url);
  check(`${name}: goes on asking`, await page.waitForResponse((one) => one.url().endsWith('api/state'), { timeout: 8000 }).then(() => true, () => false));
  await page.context().close();
}

// ---------------------------------------------------------------- run

mkdirSync(SHOTS, { recursive: true });
const [base, expectations] = process.argv.slice(2);
try {
  if (base) {
    const url = base.endsWith('/') ? base : `${base}/`;
    const wanted = expectations ? JSON.parse(readFileSync(expectations, 'utf8')) : {};
    await general(url, 'served', wanted.routes && wanted.routes.length > 0 ? wanted.routes : [{ hash: '' }, { hash: '#/kms' }]);
    const page = await unreachable(url, 'served', (one) => one.route('**/api/state', (route) => route.abort()));
    await page.context().close();
  } else {
    const routesOf = (state) => [{ hash: '' }, { hash: '#/kms' }, ...(state.apps.length > 0 ? [{ hash: `#/app/${state.apps[0].id}` }] : [])];
    for (const name of ['rich', 'empty', 'hostile']) {
      const server = await serve(readFixture(name));
      await general(server.url, name, routesOf(server.state));
      if (name === 'rich') await steady(server);
      if (name === 'hostile') await inert(server);
      if (name === 'rich') {
        const page = await unreachable(server.url, name, () => server.stop());
        await page.context().close();
      } else await server.stop();
    }
    // Text that must be there: an empty page says what to do.
    const server = await serve(readFixture('empty'));
    const page = await open(server.url);
    check('empty: says what to do', /bylaw app create/.test(await page.textContent('main')));
    await server.stop();
  }
} finally {
  await browser.close();
}
console.log(`${passed} passed, ${failures.length} failed`);
process.exit(failures.length === 0 ? 0 : 1);
