// Owns money as people read and write it. On the wire it is whole minor units of a currency; how many
// digits those are is the currency's own affair. Nothing here becomes a float on the way.

const formats = new Map();

function formatOf(currency) {
  if (!formats.has(currency)) formats.set(currency, new Intl.NumberFormat(undefined, { style: "currency", currency }));
  return formats.get(currency);
}

export const digitsOf = (currency) => formatOf(currency).resolvedOptions().maximumFractionDigits;

export const money = ({ amount, currency }) => formatOf(currency).format(decimal(amount, currency));

/** 605 USD is "6.05": what a price box begins with. */
export function decimal(amount, currency) {
  const digits = digitsOf(currency);
  const text = String(Math.abs(amount)).padStart(digits + 1, "0");
  const cut = text.length - digits;
  return (amount < 0 ? "-" : "") + text.slice(0, cut) + (digits ? `.${text.slice(cut)}` : "");
}

/** What decimal() reads back, as a pattern for a price box. */
export const pricePattern = (currency) => {
  const digits = digitsOf(currency);
  return `\\s*\\d{1,13}${digits ? `([.,]\\d{1,${digits}})?` : ""}\\s*`;
};

/** "6.05" is 605 USD; null for what is no price. */
export function parsePrice(text, currency) {
  if (!new RegExp(`^${pricePattern(currency)}$`).test(text)) return null;
  const [whole, part = ""] = text.trim().split(/[.,]/);
  return Number(whole + part.padEnd(digitsOf(currency), "0"));
}
