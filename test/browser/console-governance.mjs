// What the console of a running VMM says about apps, one page after another.
//
//   node test/browser/console-governance.mjs URL EXPECTATIONS.json
//
// EXPECTATIONS.json: [{"vm": "id", "shows": ["text", …]}, …]. Screenshots go to target/browser/console.
import { mkdirSync, readFileSync } from 'node:fs';
import { accessible, browser, check, failures, open, quiet, shot, SHOTS } from './console-page.mjs';

const [url, file] = process.argv.slice(2);
mkdirSync(SHOTS, { recursive: true });
try {
  const page = await open(url, { width: 1024 });
  for (const { vm, shows } of JSON.parse(readFileSync(file, 'utf8'))) {
    // Another page in between: the same address with another # would not load again.
    await page.goto('about:blank');
    await page.goto(`${url}/#/vm/${vm}`);
    const section = page.locator('.part', { has: page.getByRole('heading', { name: 'Governance' }) });
    await section.locator('.verdict, .empty').waitFor();
    const said = await section.innerText();
    for (const text of shows) check(`${vm} shows ${text}`, said.includes(text), said);
    check(`${vm}: every value is one`, !/undefined|\[object|NaN/.test(said), said);
  }
  await accessible(page, 'governance');
  await shot(page, 'governance-real');
  await quiet(page, 'governance');
} finally {
  await browser.close();
}
process.exit(failures.length === 0 ? 0 : 1);
