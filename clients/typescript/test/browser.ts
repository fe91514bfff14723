/**
 * Opens a page in headless Chromium, fills in its form, and prints what it shows, line by line.
 *
 *   node dist/test/browser.js URL '{"tenant": "acme", …}' [SCREENSHOT]
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import puppeteer from "puppeteer-core";

const [url = "", fields = "{}", screenshot] = process.argv.slice(2);

// The package unpacks its binary into the temporary folder, and takes any that it finds there; on
// Amazon's own system, which these variables pretend, it also brings the libraries that it needs.
const folder = fileURLToPath(new URL("../chromium", import.meta.url));
mkdirSync(folder, { recursive: true });
process.env.TMPDIR = folder;
process.env.AWS_EXECUTION_ENV = "AWS_Lambda_nodejs20.x";
const { default: chromium } = await import("@sparticuz/chromium");
chromium.setGraphicsMode = false;
const executablePath = await chromium.executablePath();

// The package's own fonts.conf names /tmp/fonts, wherever the fonts were unpacked; without a font
// a page never loads.
const fonts = join(folder, "fonts.conf");
writeFileSync(
  fonts,
  `<fontconfig><dir>${folder}/fonts</dir><cachedir>${folder}/fonts-cache</cachedir></fontconfig>`,
);
process.env.FONTCONFIG_FILE = fonts;

const browser = await puppeteer.launch({
  executablePath,
  headless: "shell",
  // Whoever calls by an authority of their own has it checked by the other tests.
  acceptInsecureCerts: Boolean(process.env.NAGAYA_CA_FILE),
  // Not the package's own arguments: they switch off what CORS is for (--disable-web-security).
  args: [
    "--no-sandbox", // it refuses to run as root otherwise
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--host-resolver-rules=MAP *.test 127.0.0.1",
  ],
});
try {
  const page = await browser.newPage();
  page.on("pageerror", (error) => console.error(`pageerror: ${error}`));
  await page.goto(url, { waitUntil: "networkidle0" });
  for (const [name, value] of Object.entries<string>(JSON.parse(fields))) {
    await page.$eval(
      `[name=${name}]`,
      (input, text) => {
        (input as HTMLInputElement).value = text;
      },
      value,
    );
  }
  await page.click("button");
  for (let shown = 0, outcome = ""; outcome === ""; ) {
    outcome = await page.$eval("#outcome", (element) => element.textContent ?? "");
    const lines = await page.$$eval("#events li", (items) => items.map((item) => item.textContent));
    for (const line of lines.slice(shown)) {
      console.log(line);
    }
    shown = lines.length;
    if (outcome === "") {
      await new Promise((resolve) => setTimeout(resolve, 50));
    } else {
      console.log(outcome);
    }
  }
  console.log(await page.$eval("#result", (element) => element.textContent ?? ""));
  if (screenshot) {
    await page.screenshot({ path: screenshot as `${string}.png`, fullPage: true });
  }
} finally {
  await browser.close();
}
