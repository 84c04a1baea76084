"""Money: interest, loans, prices, taxes and returns. Rates are in percent, amounts are rounded to cents."""

import math

from envs.worlds.authoring import WorldTool, filled, within
from envs.worlds.draws import choice, ints, real, whole
from envs.worlds.kinds import Code, Ints, Real, Reals, Whole

_AMOUNT = whole(100, 9999)
_RATE = whole(2, 15)
_YEARS = whole(2, 20)
_COINS = (200, 100, 50, 20, 10, 5, 2, 1)


def _cents(amount: float) -> float:
    return round(amount, 2)


def simple_interest(amount: Real, rate: Real, years: Real) -> Real:
    """The simple interest on an amount at a yearly rate."""
    return _cents(amount * rate / 100 * years)


def compound_balance(amount: Real, rate: Real, years: Real) -> Real:
    """The final balance of savings with compound interest."""
    within(years, 0, 200, "years")
    return _cents(amount * (1 + rate / 100) ** years)


def compound_interest(amount: Real, rate: Real, years: Real) -> Real:
    """The interest alone that compounding earns, without the deposit."""
    within(years, 0, 200, "years")
    return _cents(amount * ((1 + rate / 100) ** years - 1))


def continuous_balance(amount: Real, rate: Real, years: Real) -> Real:
    """The balance of savings with continuously compounded interest."""
    within(years * rate, 0, 2000, "years times rate")
    return _cents(amount * math.exp(rate / 100 * years))


def present_value(amount: Real, rate: Real, years: Real) -> Real:
    """The present value of money that is paid in some years."""
    within(years, 0, 200, "years")
    return _cents(amount / (1 + rate / 100) ** years)


def net_present_value(rate: Real, flows: Reals) -> Real:
    """The net present value of yearly cash flows, the first one today."""
    filled(flows, "flows")
    return _cents(sum(flow / (1 + rate / 100) ** year for year, flow in enumerate(flows)))


def monthly_payment(amount: Real, rate: Real, years: Whole) -> Real:
    """The monthly payment of a loan at a yearly rate."""
    within(years, 1, 100, "years")
    monthly = rate / 1200
    return _cents(amount * monthly / (1 - (1 + monthly) ** (-12 * years)))


def annuity_value(payment: Real, rate: Real, years: Whole) -> Real:
    """The savings after paying in a fixed sum every year."""
    within(years, 1, 100, "years")
    balance = 0.0
    for _ in range(years):
        balance = balance * (1 + rate / 100) + payment
    return _cents(balance)


def doubling_time(rate: Real) -> Real:
    """The years until money doubles at a yearly rate."""
    return _cents(math.log(2) / math.log1p(rate / 100))


def growth_rate(start: Real, end: Real, years: Real) -> Real:
    """The yearly growth rate that leads from one value to another."""
    return _cents(100 * ((end / start) ** (1 / years) - 1))


def effective_rate(rate: Real, periods: int) -> Real:
    """The effective yearly rate of interest credited several times a year."""
    within(periods, 1, 366, "periods")
    return 100 * ((1 + rate / 100 / periods) ** periods - 1)


def real_interest_rate(rate: Real, inflation: Real) -> Real:
    """The interest rate that remains after inflation, Fisher's formula."""
    return 100 * ((100 + rate) / (100 + inflation) - 1)


def sale_price(price: Real, percent: Real) -> Real:
    """The price to pay after a discount in percent."""
    return _cents(price * (100 - percent) / 100)


def price_before_discount(price: Real, percent: Real) -> Real:
    """The original price, given a sale price and its discount."""
    within(percent, 0, 99, "percent")
    return _cents(price * 100 / (100 - percent))


def price_with_tax(price: Real, percent: Real) -> Real:
    """The gross price after adding sales tax."""
    return _cents(price + price * percent / 100)


def price_without_tax(price: Real, percent: Real) -> Real:
    """The net price after taking the included tax out."""
    within(percent, 0, 100, "percent")
    return _cents(price / (1 + percent / 100))


def restaurant_tip(bill: Real, percent: Real) -> Real:
    """The tip on a restaurant bill."""
    return _cents(bill / 100 * percent)


def split_bill(bill: Real, people: Whole, percent: Real) -> Real:
    """The share of each person in a bill including the tip."""
    within(people, 1, 1000, "people")
    return _cents(bill * (1 + percent / 100) / people)


def markup_percent(cost: Real, price: Real) -> Real:
    """The markup: profit as a percentage of the cost."""
    return _cents((price - cost) / cost * 100)


def margin_percent(cost: Real, price: Real) -> Real:
    """The margin: profit as a percentage of the selling price."""
    return _cents((price - cost) / price * 100)


def return_on_investment(cost: Real, proceeds: Real) -> Real:
    """The return on an investment in percent of the money invested."""
    return _cents(100 * proceeds / cost - 100)


def break_even_units(fixed: Real, price: Real, cost: Real) -> Whole:
    """The units to sell until fixed costs are covered."""
    if price <= cost:
        raise ValueError("the price must exceed the unit cost")
    return math.ceil(fixed / (price - cost))


def straight_line_depreciation(cost: Real, salvage: Real, years: Whole) -> Real:
    """The yearly depreciation of an asset in equal parts."""
    within(years, 1, 100, "years")
    return _cents((cost - salvage) / years)


def declining_value(cost: Real, rate: Real, years: Whole) -> Real:
    """The book value of an asset that loses a percentage every year."""
    within(years, 0, 100, "years")
    return _cents(cost * (1 - rate / 100) ** years)


def annual_salary(hourly: Real, hours: Real) -> Real:
    """The yearly salary from an hourly wage and weekly hours."""
    return _cents(hourly * hours * 52)


def overtime_pay(hourly: Real, hours: Real) -> Real:
    """The weekly pay with time and a half beyond forty hours."""
    return _cents(hourly * hours + max(hours - 40, 0) * hourly / 2)


def progressive_tax(income: Real) -> Real:
    """The tax with brackets: 10% to 10,000, 20% to 40,000, 30% above."""
    return _cents(
        0.1 * min(income, 10_000) + 0.2 * min(max(income - 10_000, 0), 30_000) + 0.3 * max(income - 40_000, 0)
    )


def fewest_coins(cents: Whole) -> Whole:
    """The fewest coins that pay an amount of cents."""
    count = 0
    for coin in _COINS:
        count += cents // coin
        cents %= coin
    return count


def change_ways(cents: Whole) -> Whole:
    """Count the ways to pay an amount of cents in coins."""
    within(cents, 0, 2000, "cents")
    ways = [1] + [0] * cents
    for coin in _COINS:
        for total in range(coin, cents + 1):
            ways[total] += ways[total - coin]
    return ways[cents]


def format_money(amount: Real) -> Code:
    """Write an amount of money with a dollar sign and two decimals."""
    return f"${amount:,.2f}"


def unit_price(price: Real, grams: Real) -> Real:
    """The price per kilogram of a package weighed in grams."""
    return _cents(1000 * price / grams)


def best_profit(prices: Ints) -> Whole:
    """The best profit from buying once and selling later at listed prices."""
    filled(prices, "prices")
    lowest, best = prices[0], 0
    for price in prices:
        lowest = min(lowest, price)
        best = max(best, price - lowest)
    return best


_LOAN = {"amount": _AMOUNT, "rate": _RATE, "years": _YEARS}
_PRICE = {"price": real(5, 900, digits=2), "percent": choice(5, 7, 10, 12, 15, 19, 20, 25, 30, 40)}

TOOLS = (
    WorldTool(
        function=simple_interest,
        draw=_LOAN,
        needs=(
            "the [simple interest] on {amount} at {rate} percent over {years} years",
            "how much [interest without compounding] {amount} earns at {rate} percent in {years} years",
            "the [simple interest earned] by {amount}, rate {rate} percent, {years} years",
        ),
        unseen=(
            "the [plain yearly interest] of {amount} at {rate} percent for {years} years",
            "the [non-compounded interest] from {amount}, {rate} percent, {years} years",
        ),
    ),
    WorldTool(
        function=compound_balance,
        draw=_LOAN,
        needs=(
            "the [balance with compound interest] of {amount} at {rate} percent after {years} years",
            "the [final balance of savings] when {amount} grows at {rate} percent for {years} years",
            "what [savings grow to with compounding], {amount} at {rate} percent for {years} years",
        ),
        unseen=(
            "the [account total with interest on interest] for {amount} at {rate} percent, {years} years",
            "the [future value of a deposit] of {amount} at {rate} percent over {years} years",
        ),
    ),
    WorldTool(
        function=compound_interest,
        draw=_LOAN,
        needs=(
            "the [compound interest alone] on {amount} at {rate} percent over {years} years",
            "how much [compounding earns without the deposit], {amount} at {rate} percent for {years} years",
            "the [interest earned by compounding] on {amount}, {rate} percent, {years} years",
        ),
        unseen=(
            "the [gain through interest on interest] for {amount} at {rate} percent, {years} years",
            "the [compounded interest, deposit not counted,] of {amount} at {rate} percent over {years} years",
        ),
    ),
    WorldTool(
        function=continuous_balance,
        draw=_LOAN,
        needs=(
            "the [balance with continuous compounding] of {amount} at {rate} percent after {years} years",
            "what [continuously compounded savings] of {amount} reach at {rate} percent in {years} years",
            "the [continuous interest balance] for {amount}, {rate} percent, {years} years",
        ),
        unseen=(
            "what {amount} becomes with [interest added at every instant], {rate} percent, {years} years",
            "the [exponentially growing savings] from {amount} at {rate} percent in {years} years",
        ),
    ),
    WorldTool(
        function=present_value,
        draw=_LOAN,
        needs=(
            "the [present value] of {amount} due in {years} years at {rate} percent",
            "what [future money is worth today], {amount} in {years} years at {rate} percent",
            "the [discounted value of a later payment] of {amount} at {rate} percent in {years} years",
        ),
        unseen=(
            "how much [money paid in some years is worth at present], {amount}, {rate} percent, {years} years",
            "the [current worth of money paid later], {amount} at {rate} percent after {years} years",
        ),
    ),
    WorldTool(
        function=net_present_value,
        draw={"rate": _RATE, "flows": lambda r: [-r.randint(100, 900), r.randint(50, 500), r.randint(50, 500)]},
        needs=(
            "the [net present value] of {flows} at {rate} percent",
            "the [NPV of the cash flows] {flows} at {rate} percent",
            "the [discounted sum of cash flows] {flows} at {rate} percent",
        ),
        unseen=(
            "whether [a project's payments are worth it today], {flows} at {rate} percent",
            "the [today's worth of yearly payments in and out], {flows} at {rate} percent",
        ),
    ),
    WorldTool(
        function=monthly_payment,
        draw=_LOAN,
        needs=(
            "the [monthly payment of a loan] of {amount} at {rate} percent over {years} years",
            "what [a loan costs each month], {amount} at {rate} percent for {years} years",
            "the [monthly loan instalment] for {amount}, {rate} percent, {years} years",
        ),
        unseen=(
            "the [mortgage rate per month] on {amount} at {rate} percent over {years} years",
            "how much [to pay the bank back every month] for {amount} at {rate} percent in {years} years",
        ),
    ),
    WorldTool(
        function=annuity_value,
        draw={"payment": _AMOUNT, "rate": _RATE, "years": _YEARS},
        needs=(
            "the [savings from a fixed yearly sum] of {payment} at {rate} percent over {years} years",
            "what [paying in every year] leads to, {payment} at {rate} percent for {years} years",
            "the [future value of an annuity] of {payment}, {rate} percent, {years} years",
        ),
        unseen=(
            "the [savings from paying in the same sum each year], {payment} at {rate} percent, {years} years",
            "the [value of a yearly savings plan] with {payment} at {rate} percent after {years} years",
        ),
    ),
    WorldTool(
        function=doubling_time,
        draw={"rate": real(1, 60)},
        needs=(
            "the [years until money doubles] at {rate} percent",
            "the [doubling time] at {rate} percent a year",
            "how [long savings take to double] at {rate} percent",
        ),
        unseen=(
            "when [a deposit becomes twice as much] at {rate} percent",
            "the [time to multiply capital by two] at {rate} percent",
        ),
    ),
    WorldTool(
        function=growth_rate,
        draw={"start": _AMOUNT, "end": _AMOUNT, "years": _YEARS},
        needs=(
            "the [yearly growth rate] from {start} to {end} in {years} years",
            "the [compound annual growth] from {start} to {end} over {years} years",
            "how [many percent a year a value grows], {start} to {end} in {years} years",
        ),
        unseen=(
            "the [annual growth rate between two values] of {start} and {end} across {years} years",
            "the [average yearly increase in percent] from {start} to {end} within {years} years",
        ),
    ),
    WorldTool(
        function=effective_rate,
        draw={"rate": real(1, 20), "periods": choice(2, 4, 12, 52)},
        needs=(
            "the [effective yearly rate] of {rate} percent credited {periods} times",
            "the [effective interest rate] for {rate} percent with {periods} periods",
            "the [true annual rate] of {rate} percent compounded {periods} times",
        ),
        unseen=(
            "the [annual percentage yield] for {rate} percent nominal, {periods} times a year",
            "what [a nominal rate really amounts to per year], {rate} percent, {periods} credits",
        ),
    ),
    WorldTool(
        function=real_interest_rate,
        draw={"rate": real(1, 20), "inflation": real(0.5, 15)},
        needs=(
            "the [real interest rate] at {rate} percent with {inflation} percent inflation",
            "the [interest after inflation] of {inflation} percent when the bank pays {rate} percent",
            "the [Fisher real rate] for {rate} percent and {inflation} percent",
        ),
        unseen=(
            "the [yield once rising prices are taken off], {rate} percent less {inflation} percent",
            "the [inflation-adjusted return] of {rate} percent under {inflation} percent",
        ),
    ),
    WorldTool(
        function=sale_price,
        draw=_PRICE,
        needs=(
            "the [price after a discount] of {percent} percent on {price}",
            "the [discounted price] of {price} at {percent} percent off",
            "what [to pay after a rebate] of {percent} percent on {price}",
        ),
        unseen=(
            "the [sale price with percent off], {price} less {percent} percent",
            "what [a reduced item costs in the sales], {price} at {percent} percent off",
        ),
    ),
    WorldTool(
        function=price_before_discount,
        draw=_PRICE,
        needs=(
            "the [original price] when {price} includes {percent} percent discount",
            "the [price before the discount] of {percent} percent, now {price}",
            "what [something cost before the rebate] of {percent} percent, now {price}",
        ),
        unseen=(
            "the [original price without the discount] behind {price} at {percent} percent off",
            "[undo a discount] of {percent} percent on {price}",
        ),
    ),
    WorldTool(
        function=price_with_tax,
        draw=_PRICE,
        needs=(
            "the [price including sales tax] of {percent} percent on {price}",
            "the [gross price] of {price} with {percent} percent tax",
            "[add sales tax] of {percent} percent to {price}",
        ),
        unseen=(
            "what [goods cost with VAT on top], {price} plus {percent} percent",
            "the [tax-inclusive price] of {price} at {percent} percent",
        ),
    ),
    WorldTool(
        function=price_without_tax,
        draw=_PRICE,
        needs=(
            "the [price without the included tax] of {percent} percent in {price}",
            "the [net price] of {price} with {percent} percent tax inside",
            "[take the tax out] of {price}, {percent} percent",
        ),
        unseen=(
            "what [goods cost once VAT is removed], {price} at {percent} percent",
            "the [tax-exclusive price] behind {price} at {percent} percent",
        ),
    ),
    WorldTool(
        function=restaurant_tip,
        draw={"bill": real(10, 300, digits=2), "percent": choice(8, 10, 12, 15, 18, 20)},
        needs=(
            "the [tip on a restaurant bill] of {bill} at {percent} percent",
            "how much [to tip the waiter], {percent} percent on {bill}",
            "the [restaurant tip] for {bill} at {percent} percent",
        ),
        unseen=(
            "the [gratuity for a meal] of {bill} at {percent} percent",
            "how much [to leave for the service], {percent} percent of {bill}",
        ),
    ),
    WorldTool(
        function=split_bill,
        draw={"bill": real(20, 400, digits=2), "people": whole(2, 9), "percent": choice(0, 5, 10, 15, 20)},
        needs=(
            "the [share of each person in a bill] of {bill} for {people} with {percent} percent tip",
            "how much [each pays when a bill is split], {bill} among {people} plus {percent} percent tip",
            "the [bill per person including tip], {bill}, {people} guests, {percent} percent",
        ),
        unseen=(
            "what [everyone at the table owes], {bill} over {people} with {percent} percent tip",
            "[divide a dinner check evenly], {bill} among {people} friends, tip {percent} percent",
        ),
    ),
    WorldTool(
        function=markup_percent,
        draw={"cost": whole(10, 300), "price": whole(301, 900)},
        needs=(
            "the [markup] when the cost is {cost} and the price {price}",
            "the [profit as a percentage of the cost], cost {cost}, price {price}",
            "the [markup on the cost] from {cost} to {price}",
        ),
        unseen=(
            "how many percent [a shop adds on top of its cost], {cost} up to {price}",
            "the [mark-up rate] between purchase {cost} and sale {price}",
        ),
    ),
    WorldTool(
        function=margin_percent,
        draw={"cost": whole(10, 300), "price": whole(301, 900)},
        needs=(
            "the [profit margin] when the cost is {cost} and the price {price}",
            "the [profit as a percentage of the price], cost {cost}, price {price}",
            "the [margin on the selling price] with cost {cost} and price {price}",
        ),
        unseen=(
            "what [part of the selling price is profit], cost {cost}, price {price}",
            "the [gross margin] between purchase {cost} and sale {price}",
        ),
    ),
    WorldTool(
        function=return_on_investment,
        draw={"cost": whole(100, 5000), "proceeds": whole(100, 9999)},
        needs=(
            "the [return on investment] of {cost} that brought {proceeds}",
            "the [ROI] for {cost} invested and {proceeds} received",
            "the [investment return in percent] with {cost} in and {proceeds} out",
        ),
        unseen=(
            "how [well an investment paid off], {cost} in and {proceeds} back",
            "the [percentage gained by investing] {cost} and getting {proceeds}",
        ),
    ),
    WorldTool(
        function=break_even_units,
        draw={"fixed": whole(500, 9999), "price": whole(30, 99), "cost": whole(2, 29)},
        needs=(
            "the [break-even units] for fixed costs {fixed}, price {price} and unit cost {cost}",
            "how [many units to sell to cover the fixed costs], {fixed} at price {price} and cost {cost}",
            "the [break-even quantity] at {fixed} fixed, {price} per piece, {cost} each to make",
        ),
        unseen=(
            "how [many sales until a business stops losing money], {fixed} fixed, {price} price, {cost} cost",
            "the [point where costs are covered], fixed {fixed}, price {price}, unit cost {cost}",
        ),
    ),
    WorldTool(
        function=straight_line_depreciation,
        draw={"cost": whole(1000, 9999), "salvage": whole(50, 900), "years": whole(3, 15)},
        needs=(
            "the [straight-line depreciation] of {cost} down to {salvage} in {years} years",
            "the [yearly depreciation in equal parts] from {cost} to {salvage} over {years} years",
            "the [linear depreciation] for {cost}, salvage {salvage}, {years} years",
        ),
        unseen=(
            "how much [an asset is written off each year evenly], {cost} to {salvage} in {years} years",
            "the [constant annual write-down] from {cost} to {salvage} across {years} years",
        ),
    ),
    WorldTool(
        function=declining_value,
        draw={"cost": whole(1000, 9999), "rate": whole(5, 40), "years": whole(1, 12)},
        needs=(
            "the [book value after declining depreciation] of {cost} at {rate} percent for {years} years",
            "what [an asset losing value every year is worth], {cost} at {rate} percent after {years} years",
            "the [declining balance value] for {cost}, {rate} percent, {years} years",
        ),
        unseen=(
            "what [a used car is still worth], {cost} losing {rate} percent for {years} years",
            "the [residual value with percentage write-offs] of {cost}, {rate} percent, {years} years",
        ),
    ),
    WorldTool(
        function=annual_salary,
        draw={"hourly": real(10, 80, digits=2), "hours": whole(10, 45)},
        needs=(
            "the [yearly salary] at {hourly} an hour and {hours} hours a week",
            "the [annual pay from an hourly wage] of {hourly} with {hours} weekly hours",
            "what [an hourly wage makes in a year], {hourly} at {hours} hours a week",
        ),
        unseen=(
            "the [income per year of a worker] paid {hourly} for {hours} hours weekly",
            "turn {hourly} per hour [into a yearly wage] with {hours} hours a week",
        ),
    ),
    WorldTool(
        function=overtime_pay,
        draw={"hourly": real(10, 80, digits=1), "hours": whole(36, 60)},
        needs=(
            "the [weekly pay with overtime] for {hours} hours at {hourly}",
            "the [pay at time and a half beyond forty hours], {hours} hours at {hourly}",
            "the [wages with overtime] at {hourly} an hour for {hours} hours",
        ),
        unseen=(
            "what [a week with extra hours pays], {hours} hours at {hourly}",
            "the [paycheck including overtime bonus] for {hours} hours at {hourly}",
        ),
    ),
    WorldTool(
        function=progressive_tax,
        draw={"income": whole(2000, 99999)},
        needs=(
            "the [progressive income tax] on {income}",
            "the [tax with brackets] on an income of {income}",
            "how much [tax the brackets take] from {income}",
        ),
        unseen=(
            "the [graduated tax of an earner] making {income}",
            "how much [goes to the tax office by bracket] of {income}",
        ),
    ),
    WorldTool(
        function=fewest_coins,
        draw={"cents": whole(11, 2500)},
        needs=(
            "the [fewest coins] for {cents} cents",
            "how [many coins at least pay] {cents} cents",
            "the [smallest number of coins] worth {cents} cents",
        ),
        unseen=(
            "the [minimum coin count as change] for {cents} cents",
            "how [few pieces of coin a cashier can give] for {cents} cents",
        ),
    ),
    WorldTool(
        function=change_ways,
        draw={"cents": whole(5, 900)},
        needs=(
            "the [number of ways to pay in coins] for {cents} cents",
            "how [many ways to make change] exist for {cents} cents",
            "the [ways to pay an amount with coins] for {cents} cents",
        ),
        unseen=(
            "how [many coin combinations] reach {cents} cents",
            "the [count of possible coin mixes] worth {cents} cents",
        ),
    ),
    WorldTool(
        function=format_money,
        draw={"amount": real(100, 99999, digits=1)},
        needs=(
            "write {amount} [as a dollar amount]",
            "the [money format with a dollar sign] of {amount}",
            "the [amount in dollars with two decimals] for {amount}",
        ),
        unseen=(
            "print {amount} [as a price in dollars and cents]",
            "the [currency notation] for {amount}",
        ),
    ),
    WorldTool(
        function=unit_price,
        draw={"price": real(1, 40, digits=2), "grams": whole(100, 2500)},
        needs=(
            "the [price per kilogram] at {price} for {grams} grams",
            "the [kilo price of a package] costing {price} for {grams} grams",
            "the [unit price of a package] with {grams} grams at {price}",
        ),
        unseen=(
            "what [a kilo would cost], given {grams} g for {price}",
            "[compare groceries by weight]: {price} for {grams} g",
        ),
    ),
    WorldTool(
        function=best_profit,
        draw={"prices": ints(5, 99, least=4, most=6)},
        needs=(
            "the [best profit from buying and selling once] at {prices}",
            "the [largest profit with one purchase and a later sale] over {prices}",
            "how much [a trader could gain at best] with prices {prices}",
        ),
        unseen=(
            "the [maximum stock gain, buy low and sell high later,] in {prices}",
            "how much [one well-timed trade earns] given {prices}",
        ),
    ),
)
