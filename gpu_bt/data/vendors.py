# SPDX-License-Identifier: Apache-2.0
"""How vendors name their columns, in one table, and what their names say of the numbers below them.

Names of yfinance, CRSP (both formats), Compustat, Tiingo, Alpha Vantage, Stooq, Polygon, Alpaca, Norgate, Sharadar,
Quandl, EOD Historical Data, Binance, Bloomberg, Refinitiv, Databento, Tushare, MetaTrader, Interactive Brokers.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from gpu_bt.data.fields import FIELDS, PRICES
from gpu_bt.errors import PanelError

__all__ = ["ADJUSTED", "NAMES", "QUOTES", "adjusted", "field_of", "is_fields", "look_alikes", "lost", "plain"]

#: Our name -> the plain names (see `plain`) that are read as it, the own one first; of two fields the first wins.
NAMES: dict[str, tuple[str, ...]] = {
    "timestamp": ("timestamp", "date", "datetime", "time", "tradedate", "tradingdate", "tradingday", "tradetime",
                  "pricedate", "asofdate", "caldt", "dlycaldt", "mthcaldt", "datadate", "opentime", "tsevent",
                  "windowstart", "dates", "ts", "dt", "t", "data", "日期", "时间"),
    "asset": ("asset", "symbol", "ticker", "sid", "instrument", "sym", "code", "tscode", "ric", "isin", "permno",
              "cusip", "figi", "sedol", "gvkey", "tic", "security", "stock", "secid", "assetid", "股票代码", "代码",
              "T", "S"),
    "weight": ("weight", "weights", "targetweight", "targetpercent", "portfolioweight", "allocation", "w"),
    "shares": ("shares", "qty", "quantity", "position", "positions", "units"),
    "close": ("close", "closeprice", "closingprice", "priceclose", "prc", "dlyclose", "dlyprc", "mthprc", "prccd",
              "pxlast", "closelast", "lastprice", "last", "price", "settle", "c", "zamkniecie", "收盘"),
    "open": ("open", "openprice", "priceopen", "openprc", "dlyopen", "prcod", "pxopen", "o", "otwarcie", "开盘"),
    "high": ("high", "highprice", "pricehigh", "askhi", "dlyhigh", "prchd", "pxhigh", "h", "najwyzszy", "最高"),
    "low": ("low", "lowprice", "pricelow", "bidlo", "dlylow", "prcld", "pxlow", "l", "najnizszy", "最低"),
    "vwap": ("vwap", "vw", "average", "averageprice", "avgprice", "pxvwap"),
    "volume": ("volume", "vol", "dlyvol", "cshtrd", "pxvolume", "totalvolume", "tickvolume", "tickvol", "v", "wolumen",
               "成交量"),
    "dividend": ("dividend", "dividends", "divcash", "cashdividend", "exdividend", "dividendamount", "divamt",
                 "dlyorddivamt", "div"),
    "split": ("split", "splits", "stocksplits", "stocksplit", "splitfactor", "splitratio", "splitcoefficient"),
    "adj_close": ("adjclose", "adjustedclose", "closeadj", "closeadjusted", "adjcloseprice", "adjclosingprice"),
    "adj_open": ("adjopen", "adjustedopen", "openadj"),
    "adj_high": ("adjhigh", "adjustedhigh", "highadj"),
    "adj_low": ("adjlow", "adjustedlow", "lowadj"),
    "adj_volume": ("adjvolume", "adjustedvolume", "volumeadj"),
    "price_divisor": ("pricedivisor", "cfacpr", "dlycumfacpr", "ajexdi"),
}  # fmt: skip
#: Columns that only say how others are adjusted; no field of a panel.
ADJUSTED = ("adj_close", "adj_open", "adj_high", "adj_low", "adj_volume", "price_divisor")
#: CRSP's columns in which a price below 0 is the mean of bid and ask of a day without a trade, and 0 is none.
QUOTES = ("prc", "bidlo", "askhi", "dlyprc", "mthprc")
#: Words that make a column look like a field, so that it is not passed over without a word; and names that do not.
_WORDS = {"open", "high", "low", "close", "volume", "vol", "vwap", "dividend", "dividends", "split", "splits", "price",
          "prc", "adj", "unadjusted", "ret", "retx", "dlret", "return", "returns", "lot", "spread", "borrow",
          "delisted", "delisting"}  # fmt: skip
_OTHERS = ("openint", "openinterest", "oi", "opentime", "closetime", "quotevolume", "prevclose", "preclose", "pctchg",
           "change")  # fmt: skip


def plain(name: str) -> str:
    """'4. Adj. Close ', '<ADJ_CLOSE>', 'adjClose' -> 'adjclose': letters and digits alone, without a number before."""
    return re.sub(r"[\W_]+", "", re.sub(r"^\s*\d+[a-z]?\.\s", "", name)).lower()


def field_of(name: str) -> str | None:
    """Our name of a vendor's column: a field of a panel, or one of ADJUSTED."""
    return _FIELD_OF.get(plain(name))


_FIELD_OF = {known: ours for ours in (*FIELDS, *ADJUSTED) for known in NAMES.get(ours, (plain(ours),))}


def is_fields(names: Iterable[str], main: str) -> bool:
    """Whether the columns of a table without assets are fields: one is `main`, or two are others.

    O, H, L, C, V and T are tickers as well, and so are LOW and OPEN: letters alone say it where o, h, l and c are all
    there, names in capitals where one is CLOSE or has a blank, dot or underscore.
    """
    found = {name: field_of(name) if main == "close" else main for name in names if main == "close" or _is(name, main)}
    long = {name: ours for name, ours in found.items() if ours and len(plain(name)) > 1}
    if any(ours in (main, "adj_close") and _no_ticker(name, main) for name, ours in long.items()):
        return True
    letters = {ours for name, ours in found.items() if len(plain(name)) == 1}
    return {"open", "high", "low", "close"} <= letters or len({o for n, o in long.items() if not n.isupper()}) > 1


def _is(name: str, ours: str) -> bool:
    return plain(name) in NAMES[ours]


def _no_ticker(name: str, main: str) -> bool:
    return not name.isupper() or not name.isalpha() or plain(name) in (main, "adjclose", "prc")


def look_alikes(ignored: Iterable[str]) -> list[str]:
    """Those of the columns that are not read which look like a field: by a word of theirs, or but for a letter."""
    known = [name for name in _FIELD_OF if len(name) > 4]
    out = []
    for name in ignored:
        words = {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)}
        alike = words & _WORDS or field_of(name) or plain(name).startswith("close") or plain(name).endswith("close")
        if plain(name) not in _OTHERS and (alike or difflib.get_close_matches(plain(name), known, 1, 0.85)):
            out.append(name)
    return out


def adjusted(
    columns: Mapping[str, Any], adjust: str | None, label: str, names: Mapping[str, str]
) -> tuple[dict[str, Any], list[str]]:
    """(the fields, those left out) of columns, Polars' or arrays, some of which may be ADJUSTED ones.

    "scale": close = adj_close, and open, high, low, vwap * (adj_close/close); with a divisor all / divisor.
    "adjusted": the adjusted columns alone; open, high, low, vwap without one are left out.   "raw": as they stand.
    names: our name -> the vendor's, for messages. Raises PanelError where there are both and `adjust` is None, and
    where there is nothing to adjust by.
    """
    extra = {name: columns[name] for name in ADJUSTED if name in columns}
    out = {name: column for name, column in columns.items() if name not in extra}
    if "adj_close" not in extra and "price_divisor" not in extra:
        if adjust in ("scale", "adjusted"):
            raise PanelError(
                f"{label} has no adjusted close: adjust={adjust!r} needs one, such as 'Adj Close'; leave it out"
            )
        return out, []
    both, prices = "close" in out, [name for name in map(str, PRICES[1:]) if name in out]
    if adjust is None and (both or any(f"adj_{name}" not in extra for name in prices)):
        first, second = names["close" if both else prices[0]], names[next(iter(extra))]
        raise PanelError(
            f"{label} has {first!r} and {second!r}, which are on two scales: pass adjust='scale' (open, high, low by"
            " the factor of the close), 'adjusted' (the adjusted columns alone) or 'raw' (as they stand)"
        )
    if adjust == "raw":
        if not both:
            raise PanelError(f"{label} has an adjusted close alone: adjust='raw' needs a close; pass adjust='adjusted'")
        return out, []
    if "adj_close" not in extra:
        if adjust == "adjusted":
            raise PanelError(f"{label} has no adjusted close, but a factor: pass adjust='scale', or 'raw'")
        return out | {name: out[name] / extra["price_divisor"] for name in ("close", *prices)}, []
    if adjust == "scale":
        if not both:
            raise PanelError(f"{label} has no close to scale by: pass adjust='adjusted' for its adjusted close alone")
        factor = extra["adj_close"] / out["close"]
        return out | {name: out[name] * factor for name in prices} | {"close": extra["adj_close"]}, []
    own = {name.removeprefix("adj_"): column for name, column in extra.items() if name.startswith("adj_")}
    left = [name for name in prices if name not in own]
    return {name: column for name, column in (out | own).items() if name not in left}, left


def lost(before: Mapping[str, Any], after: Mapping[str, Any], adjust: str | None) -> str:
    """What to say of prices that `adjusted` has emptied: "" of none."""
    pairs = [(np.asarray(before[n]), np.asarray(after[n])) for n in PRICES if adjust and n in before and n in after]
    count = sum(int((np.isnan(new) & ~np.isnan(old)).sum()) for old, new in pairs)
    rule = f"prices have no adjusted one and are empty under {adjust=}: correct them, or pass adjust='raw'"
    return f"{count} {rule}" if count else ""
