"""A Modbus RTU server for the tests, by pymodbus: somebody else's reading of the standard.

    modbus_server.py PORT BAUD

Serves units 1 and 2 on PORT and prints `ready` once the port is open. What they hold is written down a second time in
the test that starts this program. It ends when its standard input does.
"""

import asyncio
import logging
import sys

from pymodbus import FramerType
from pymodbus.server import ModbusSerialServer
from pymodbus.simulator import DataType, SimData, SimDevice


def unit_1():
    coils = [True, False, True, True, False, False, True, False, True] + [False] * 7
    coils = [SimData(0, values=coils, datatype=DataType.BITS)]
    discrete = [SimData(0, values=[False, True, True] + [False] * 13, datatype=DataType.BITS)]
    holding = [
        SimData(10, values=23.5, datatype=DataType.FLOAT32),
        SimData(12, values=-123456789, datatype=DataType.INT32),
        SimData(14, values=0x0123456789ABCDEF, datatype=DataType.UINT64),
        # Low word first: 4_000_000_000 is 0xEE6B2800.
        SimData(18, values=[0x2800, 0xEE6B], datatype=DataType.REGISTERS),
        SimData(20, values=-40.25, datatype=DataType.FLOAT64),
    ]
    inputs = [SimData(0, values=[215, 483, 0xFFC9, 0x8000], datatype=DataType.REGISTERS)]
    return SimDevice(1, simdata=(coils, discrete, holding, inputs))


def unit_2():
    # As many registers as one answer can carry, each with its own number.
    return SimDevice(2, simdata=[SimData(100, values=list(range(1000, 1125)), datatype=DataType.REGISTERS)])


async def main(port, baud):
    server = ModbusSerialServer([unit_1(), unit_2()], framer=FramerType.RTU, port=port, baudrate=baud)
    if not await server.listen():
        sys.exit(f"{port} cannot be opened")
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await server.shutdown()


# A request for a unit that is not there is part of the test, not worth a traceback.
logging.disable(logging.CRITICAL)
asyncio.run(main(sys.argv[1], int(sys.argv[2])))
